"""Distances between two sets of features, and the diversity of one set of images."""

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.neighbors import NearestNeighbors

from keras_fracture.errors import EvaluationError
from keras_fracture.evaluation import features
from keras_fracture.evaluation.checks import check_numbers, known_sources

# Wang, Simoncelli and Bovik 2003, Section 3.2: the weight of each scale, finest first, and the window's side.
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW = 11


def fid(real, fake):
    """Fréchet distance between Gaussians fitted to two sets of features; 0 is best.

    Source: Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule", Section "Performance Measure".
    With covariances A.T @ A and B.T @ B, the trace of the square root of their product is the sum of the
    singular values of A @ B.T, so that no square root of a nearly singular matrix is taken. Biased upwards in
    small sets, strongly where there are fewer images than dimensions: compare equal sizes only.

    Args:
        real: float `(n, d)`, n at least 2.
        fake: float `(m, d)`, m at least 2.

    Raises:
        EvaluationError: Other shapes, or NaN or infinity.
    """
    real, fake = _check(real, fake)
    (mean, factor), (other_mean, other_factor) = _gaussian(real), _gaussian(fake)
    root_trace = np.linalg.svdvals(factor @ other_factor.T).sum()
    squares = ((mean - other_mean) ** 2).sum() + (factor**2).sum() + (other_factor**2).sum()
    return float(max(squares - 2 * root_trace, 0.0))


def _gaussian(rows):
    """Mean, and a factor F of at most d rows with F.T @ F the covariance."""
    mean = rows.mean(0)
    factor = (rows - mean) / np.sqrt(len(rows) - 1)
    return mean, np.linalg.qr(factor, mode="r") if len(rows) > rows.shape[1] else factor


def kid(real, fake, subsets=100, size=None, seed=0):
    """Kernel distance: the unbiased squared maximum mean discrepancy under `(x.y / d + 1) ** 3`; 0 is best.

    Source: Bińkowski et al. 2018, "Demystifying MMD GANs", Section 4. Its expectation is 0 where both sets
    follow one distribution, so single values may be negative.

    Args:
        real: float `(n, d)`, n at least 2.
        fake: float `(m, d)`, m at least 2.
        subsets: Random subsets, drawn without replacement, to average over.
        size: Rows of each subset; None is half the smaller set, at most 1,000.
        seed: Of the drawing.

    Returns:
        Mean and standard deviation over subsets.

    Raises:
        EvaluationError: Other shapes, NaN or infinity, `size` beyond the smaller set, or a number that is not whole.
    """
    real, fake = _check(real, fake)
    most = min(len(real), len(fake))
    size = max(2, min(1000, most // 2)) if size is None else size
    check_numbers(seed, subsets=(subsets, None), size=(size, None))
    if not 2 <= size <= most or subsets < 1:
        raise EvaluationError(
            f"subsets must be at least 1 and size from 2 to the smaller set's {most}. "
            f"Received: subsets {subsets}, size {size}"
        )
    generator = np.random.default_rng(seed)
    first, second = (_subsets(len(rows), subsets, size, generator) for rows in (real, fake))
    distances = -2 * _sums(real, fake, first, second) / size**2
    for rows, chosen in ((real, first), (fake, second)):
        itself = chosen @ ((rows**2).mean(1) + 1) ** 3
        distances += (_sums(rows, rows, chosen, chosen) - itself) / (size * (size - 1))
    return float(distances.mean()), float(distances.std())


def kid_of_copies(rows, sources):
    """What pairs of one source add to the kernel distance of a set from others.

    `kid` is unbiased for independent images. Copies of one X-ray are more alike than two images of the population, and
    raise the mean kernel of their set with itself.

    Args:
        rows: float `(n, d)`, features.
        sources: `(n,)`, the source of each.

    Returns:
        The mean kernel of all pairs less that of pairs of two sources, float; 0 where there are none of one source.

    Raises:
        EvaluationError: A source is not known.
    """
    _, codes = np.unique(known_sources(sources), return_inverse=True)
    base = rows.astype(float) @ rows.T.astype(float) / rows.shape[1] + 1
    kernel, alike = base**3, codes[:, None] == codes
    apart = kernel[~alike]
    if alike.sum() == len(rows) or not len(apart):
        return 0.0
    return float((kernel.sum() - np.trace(kernel)) / (len(rows) * (len(rows) - 1)) - apart.mean())


def _subsets(count, subsets, size, generator):
    """Which of `count` rows are in each subset: 0 or 1, float `(subsets, count)`."""
    chosen = np.zeros((subsets, count))
    for row in chosen:
        row[generator.choice(count, size, replace=False)] = 1
    return chosen


def _sums(rows, others, first, second):
    """The kernel summed over each subset of rows and the like subset of others, `(subsets,)`."""
    base = rows @ others.T / rows.shape[1] + 1
    # Cubed by hand: raising to a power takes ten times as long.
    return ((first @ (base * base * base)) * second).sum(1)


def prdc(real, fake, k=5):
    """Precision, recall, density and coverage, all higher is better.

    Sources: Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric for Assessing Generative Models",
    Section 2: shares of one set inside the other's balls, a ball reaching to an image's k-th neighbour of its
    own set. Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative Models", Section 3:
    density counts the real balls a generated image lies in, over k, and may exceed 1; coverage is the share
    of real balls with a generated image inside. Balls of images with k or more copies reach no further
    than the copies: take a larger k there.

    Args:
        real: float `(n, d)`, n above k.
        fake: float `(m, d)`, m above k.
        k: Neighbours.

    Returns:
        A dict of `precision`, `recall`, `density`, `coverage`, floats.

    Raises:
        EvaluationError: Other shapes, NaN or infinity.
    """
    real, fake = _check(real, fake)
    check_numbers(None, k=(k, None))
    if not 1 <= k < min(len(real), len(fake)):
        raise EvaluationError(
            f"k must be at least 1 and below the number of images. Received: k {k}, "
            f"{len(real)} real and {len(fake)} generated"
        )
    # Around the middle the rounding of squared distances is smallest.
    middle = real.mean(0)
    real, fake = real - middle, fake - middle
    distances = euclidean_distances(real, fake)
    in_real = distances <= _radii(real, k)[:, None]
    in_fake = distances <= _radii(fake, k)[None]
    return {
        "precision": float(in_real.any(0).mean()),
        "recall": float(in_fake.any(1).mean()),
        "density": float(in_real.sum() / (k * len(fake))),
        "coverage": float(in_real.any(1).mean()),
    }


def _radii(rows, k):
    """Distance of each row to its k-th nearest other row."""
    neighbours = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(rows)
    return neighbours.kneighbors()[0][:, -1]


def ms_ssim(images, pairs=500, seed=0):
    """Mean multi-scale structural similarity of random pairs of a set; lower is more diverse, 1 all the same.

    Sources: Wang, Simoncelli and Bovik 2003, "Multi-scale Structural Similarity for Image Quality Assessment";
    Odena et al. 2017, "Conditional Image Synthesis with Auxiliary Classifier GANs", Section 4.2, for its use on
    pairs. The published window of 11 pixels is kept, with as many of the five scales as it fits into, their
    weights scaled to sum to 1: from 176 pixels on five, at 88 four, at 44 three, at 22 two. So 64 pixels have
    three and 32 have two, and only sets of one size compare.

    Args:
        images: uint8 `(n, height, width, 1 or 3)`, n at least 2, sides at least 11.
        pairs: Pairs of different images, drawn at random.
        seed: Of the drawing.

    Returns:
        Mean and standard deviation over pairs.

    Raises:
        EvaluationError: Fewer than two images, smaller ones, or of another kind.
    """
    import tensorflow as tf  # here: the other metrics do without, and importing it takes seconds

    features.check_images(images)
    check_numbers(seed, pairs=(pairs, None))
    side = min(images.shape[1:3])
    if len(images) < 2 or side < _WINDOW or pairs < 1:
        raise EvaluationError(
            f"Similarity needs two images, sides of {_WINDOW} pixels and a pair, or more. "
            f"Received: images {images.shape}, pairs {pairs}"
        )
    scales = min(len(_SCALES), 1 + int(np.log2(side / _WINDOW)))
    weights = np.array(_SCALES[:scales]) / sum(_SCALES[:scales])
    generator = np.random.default_rng(seed)
    first = generator.integers(len(images), size=pairs)
    second = (first + generator.integers(1, len(images), size=pairs)) % len(images)
    similarities = [
        tf.image.ssim_multiscale(images[one], images[other], 255, weights, _WINDOW).numpy()
        for one, other in zip(_batched(first), _batched(second), strict=True)
    ]
    similarities = np.concatenate(similarities).astype(float)
    return float(similarities.mean()), float(similarities.std())


def _batched(rows, size=64):
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _check(real, fake):
    """Both sets as float64."""
    sets = np.asarray(real, "float64"), np.asarray(fake, "float64")
    for rows, name in zip(sets, ("real", "fake"), strict=True):
        if rows.ndim != 2 or len(rows) < 2:
            raise EvaluationError(f"{name} features must be (n, d) with n at least 2. Received: {rows.shape}")
        if not np.isfinite(rows).all():
            raise EvaluationError(f"{name} features must be finite. Received: NaN or infinity")
    if sets[0].shape[1] != sets[1].shape[1]:
        raise EvaluationError(
            f"Both sets need features of one extractor. Received: {sets[0].shape[1]} and "
            f"{sets[1].shape[1]} dimensions"
        )
    return sets
