"""The `kaggle_fracture` data set."""
