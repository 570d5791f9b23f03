"""Which synthetic images are good enough to train on.

Source: Gupta, Chopra and Ledig, "Generative Bone Lesions Synthesis for Data Augmentation in X-ray", Augmented
Classification: those that the baseline classifier scores above a threshold.
"""

import numpy as np

from keras_fracture.errors import SynthesisError


def above_threshold(scores, threshold):
    """Indices of the images that score above the threshold, in their order.

    Args:
        scores: float `(n,)`, the classifier's probability of a finding.
        threshold: 0 to below 1.

    Returns:
        int64 `(passing,)`, one or more.

    Raises:
        SynthesisError: None is above the threshold, or scores or threshold are no probabilities.
    """
    scores = np.asarray(scores, float)
    if not 0 <= threshold < 1:
        raise SynthesisError(f"The threshold must lie between 0 and 1. Received: {threshold}")
    if scores.ndim != 1 or not len(scores) or not ((scores >= 0) & (scores <= 1)).all():
        outside = scores.ravel()[~((scores.ravel() >= 0) & (scores.ravel() <= 1))][:3].tolist()
        raise SynthesisError(
            "Scores must be one probability an image, from 0 to 1. "
            f"Received: shape {scores.shape}, with {outside or 'none outside'}"
        )
    passing = np.flatnonzero(scores > threshold)
    if not len(passing):
        raise SynthesisError(
            f"None of {len(scores)} images scores above the threshold: lower it below the highest score, "
            f"{scores.max():.4f}. Received: {threshold}"
        )
    return passing
