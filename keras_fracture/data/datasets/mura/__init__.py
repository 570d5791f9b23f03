"""The `mura` data set."""
