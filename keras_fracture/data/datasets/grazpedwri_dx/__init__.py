"""The `grazpedwri_dx` data set."""
