"""The `fracatlas` data set."""
