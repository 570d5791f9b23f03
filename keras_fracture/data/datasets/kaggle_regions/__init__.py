"""The `kaggle_regions` data set."""
