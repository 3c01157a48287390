"""Released weights: where they come from, whether they are complete, what memory they need."""
