"""The `btxrd` data set."""
