"""Leveraging GANs for Improved Medical Image Classification (Ibrahim, Bukhari)."""
