"""One recipe a paper, by key."""
