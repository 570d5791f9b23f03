"""Metrics with intervals that respect which pictures share a source."""

from keras_fracture.evaluation.classification import METRICS, Predictions, best_threshold, gains, scores

__all__ = ["METRICS", "Predictions", "best_threshold", "gains", "scores"]
