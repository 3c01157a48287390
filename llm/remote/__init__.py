"""Language models on other servers."""
