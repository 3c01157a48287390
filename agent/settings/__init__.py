"""Every setting: the models composed, the layers they come from, the pages that list them."""
