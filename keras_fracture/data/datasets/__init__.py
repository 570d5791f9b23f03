"""TFDS builders, one folder a data set, as TFDS lays them out."""
