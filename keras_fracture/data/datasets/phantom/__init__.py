"""The `phantom` data set."""
