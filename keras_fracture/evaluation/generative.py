"""How near a generator's images come to real ones: distances between sets, beside the same between real halves."""

import warnings

import numpy as np

from keras_fracture.errors import EvaluationError
from keras_fracture.evaluation import features
from keras_fracture.evaluation.checks import check_numbers, known_sources
from keras_fracture.evaluation.generative_metrics import fid, kid, kid_of_copies, ms_ssim, prdc

_FEW = 10  # times k; of fewer images the balls round them hold most of the others
_FEWEST = 50  # images a side; of fewer even two halves of the real ones differ by what good generators do
BY_NEIGHBOURS = ("precision", "recall", "density", "coverage")
METRICS = ("fid", "kid", *BY_NEIGHBOURS, "ms_ssim")


def compare(real, fake, extractor, *, sources=None, splits=5, k=5, pairs=500, seed=0, cached=True):
    """All metrics of a set of generated images, each beside the same between real images.

    The real images are split into two random halves, with no source on both sides. `value` holds the
    generated images against the first half, `real_vs_real` the second half against the same first half, with equally
    many images each; both are means over `splits` such splits. A generator as good as the data would reach
    `real_vs_real`, and the distances of small sets are far from 0 even there; but KID's `real_vs_real` is larger by
    `copies` than what images that are no copies of each other would reach. A generator that was trained on these very
    images knows both halves and may come nearer than that by copying: see `memorisation.near_copies`. `ms_ssim` needs
    no pairing: `value` is of generated images alone, `real_vs_real` of the first half.

    KID is here the unbiased estimate of whole samples; its spread, as that of the others, is over splits. Sets too
    small to say much are warned of: fewer than 50 images a side, and for precision to coverage than ten times `k`.

    Args:
        real: uint8 `(n, height, width, 1 or 3)`.
        fake: uint8 `(m, height, width, 1 or 3)`.
        extractor: See `features.extractor`.
        sources: The source of each real image, so that copies of one X-ray stay on one side; None takes each
            image for a source of its own.
        splits: Splits to average over.
        k: Neighbours, see `prdc`; above the number of copies a source has (40 in `kaggle_fracture`'s fractures), or
            balls reach no further than the copies and precision to coverage are low even between real images.
        pairs: See `ms_ssim`.
        seed: Of all drawing.
        cached: Whether the real images' features are kept on disk, see `features.extract`.

    Returns:
        A dict of each of `METRICS` to a dict of floats `value`, `std`, `real_vs_real`, `real_vs_real_std` (standard
        deviations over splits) and the int `images`, how many were compared with how many. That of `kid` has
        `copies`, too: what the second half's images of equal sources, such as copies of one X-ray, add to
        `real_vs_real`, as a float; 0 where every image has a source of its own.

    Raises:
        EvaluationError: Fewer than two sources or one that is not known, too few images for `k`, a number that is not
            whole, or images of another kind or of two sizes.
    """
    for images, name in ((real, "real"), (fake, "fake")):
        features.check_images(images, name)
    if real.shape[1:] != fake.shape[1:]:
        raise EvaluationError(
            f"Real and generated images must have one size: distances would be of that. Received: {real.shape[1:]} "
            f"and {fake.shape[1:]}"
        )
    check_numbers(seed, splits=(splits, 1), k=(k, 1), pairs=(pairs, 1))
    sources = np.arange(len(real)) if sources is None else known_sources(sources)
    if len(sources) != len(real):
        raise EvaluationError(
            f"sources must have an entry for each of {len(real)} real images. Received: {len(sources)}"
        )
    half_pairs = [halves(sources, seed + split) for split in range(splits)]
    count = min(len(fake), *(len(half) for pair in half_pairs for half in pair))
    if count <= k:
        raise EvaluationError(
            f"Each side needs more than k = {k} images: give more real sources or generate more. "
            f"Received: {count} a side, of {len(np.unique(sources))} sources and {len(fake)} generated"
        )
    _warn_of_few_or_equal(real, fake, count, k)
    chosen = features.extractor(extractor)
    real_features, fake_features = (
        features.extract(real, chosen, cached=cached),
        features.extract(fake, chosen),
    )
    fake_scores, real_scores, copies = [], [], []
    for split, pair in enumerate(half_pairs):
        generator = np.random.default_rng([seed, split])
        first, second = (generator.choice(half, count, replace=False) for half in pair)
        made = generator.choice(len(fake), count, replace=False)
        fake_scores.append(
            _measure(real_features[first], fake_features[made], fake[made], k, pairs, seed + split)
        )
        real_scores.append(
            _measure(real_features[first], real_features[second], real[first], k, pairs, seed + split)
        )
        copies.append(kid_of_copies(real_features[second], sources[second]))
    compared = {
        metric: {
            **_spread("value", "std", [scores[metric] for scores in fake_scores]),
            **_spread("real_vs_real", "real_vs_real_std", [scores[metric] for scores in real_scores]),
            "images": int(count),
        }
        for metric in METRICS
    }
    compared["kid"]["copies"] = float(np.mean(copies))
    return compared


def too_few(images, k):
    """Whether precision to coverage of so many images a side say little with `k` neighbours."""
    return images < _FEW * k


def _warn_of_few_or_equal(real, fake, count, k):
    """Warns of sets whose numbers would say little, or what they do not."""
    if count < _FEWEST:
        warnings.warn(
            f"no measure of fewer than {_FEWEST} images a side says much, KID, FID and MS-SSIM included, and the next "
            f"seed gives others: generate more (500 or so), or give more real sources. Received: {count} a side",
            stacklevel=3,
        )
    elif too_few(count, k):
        warnings.warn(
            f"precision to coverage of fewer than {_FEW} times k = {k} images a side say little: generate more, or "
            f"give more real sources. Received: {count} a side",
            stacklevel=3,
        )
    known = {hash(image.tobytes()) for image in real}
    if equal := sum(hash(image.tobytes()) in known for image in fake):
        warnings.warn(
            "generated images that are real ones come nearer to them than other real images do: leave them out, unless "
            f"the generator made them. Received: {equal} of {len(fake)} generated images equal a real one",
            stacklevel=3,
        )


def _measure(real, other, images, k, pairs, seed):
    """All metrics once, from features `real` and `other` and the images whose diversity is asked for."""
    return {
        "fid": fid(real, other),
        "kid": kid(real, other, subsets=1, size=len(real))[0],
        **prdc(real, other, k),
        "ms_ssim": ms_ssim(images, pairs, seed)[0],
    }


def _spread(mean, deviation, scores):
    return {mean: float(np.mean(scores)), deviation: float(np.std(scores))}


def halves(sources, seed=0):
    """Splits images into two random halves with no source on both sides.

    Sources are dealt in random order, each to the side with fewer images, so that the sides differ by no more
    than the largest source.

    Args:
        sources: The source of each image, `(n,)`.
        seed: Of the order of sources.

    Returns:
        Two sorted int arrays of indices into `sources`.

    Raises:
        EvaluationError: There are fewer than two sources.
    """
    names, codes, sizes = np.unique(np.asarray(sources), return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise EvaluationError(
            f"Two halves without a common source need at least two sources. Received: {len(names)}"
        )
    side, filled = np.zeros(len(names), int), [0, 0]
    for source in np.random.default_rng(seed).permutation(len(names)):
        side[source] = int(filled[1] < filled[0])
        filled[side[source]] += sizes[source]
    return np.flatnonzero(side[codes] == 0), np.flatnonzero(side[codes] == 1)
