"""Metrics with intervals that respect which pictures share a source."""
