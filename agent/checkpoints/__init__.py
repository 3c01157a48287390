"""Released weights: where they come from, whether they are whole, what memory they need."""
