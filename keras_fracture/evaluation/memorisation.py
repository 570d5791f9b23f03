"""Whether a generator copies: the training image nearest to each generated one, and how near is too near."""

import dataclasses
import functools

import numpy as np
from sklearn.metrics import pairwise_distances_chunked

from keras_fracture.errors import EvaluationError
from keras_fracture.evaluation import features
from keras_fracture.evaluation.checks import known_sources

FEWEST = 30  # sources; of fewer, one lies among the nearest percent or none does
_FOLDS = 10


@dataclasses.dataclass(frozen=True)
class NearCopies:
    """The training image nearest to each generated one, in one kind of distance.

    Attributes:
        indices: int `(n,)`, its index in the training set.
        distances: float `(n,)`.
        threshold: Distance up to which an image counts as a near copy.
        share: Of generated images that are near copies.
        real_vs_real: The same share of real images, none of whose source had a part in the threshold.
        sources: How many sources of real images gave `threshold` and `real_vs_real`.
    """

    indices: np.ndarray
    distances: np.ndarray
    threshold: float
    share: float
    real_vs_real: float
    sources: int

    def closest(self, count=16):
        """Indices of the closest pairs, closest first: two int arrays, generated and training images."""
        order = np.argsort(self.distances, kind="stable")[:count]
        return order, self.indices[order]

    def summary(self):
        """A dict for JSON: `value` (the share), `real_vs_real`, `threshold`, `images`, `sources`."""
        return {
            "value": self.share,
            "real_vs_real": self.real_vs_real,
            "threshold": self.threshold,
            "images": len(self.distances),
            "sources": self.sources,
        }


def near_copies(fake, train, held_out, **options):
    """Looks for generated images that copy training images.

    Args:
        fake: uint8 `(n, height, width, 1 or 3)`.
        train: See `Copies`, as all further arguments.
        held_out: The same.
        **options: The same.

    Returns:
        A dict of "pixels", and with an extractor "features", to `NearCopies`.

    Raises:
        EvaluationError: See `Copies`.
    """
    search = Copies(train, held_out, **options)
    copies = {"pixels": search.by_pixels(fake)}
    return copies if search.extractor is None else copies | {"features": search.by_features(fake)}


class Copies:
    """The search for copies of one training set, whose threshold is worked out once for many generated sets.

    What is too near is taken from real images, training and held-out ones alike, each held against the training
    images of all other sources. The threshold is the `percentile`-th percentile of these distances, with every
    source weighing alike: images of one X-ray are near to others, or far from them, together. The real_vs_real is the
    share of real images that lie as near by chance, about `percentile` / 100: sources are split into ten folds,
    and the threshold of the others is applied to each.

    Distances are, in pixels, the root mean square difference of grey levels from 0 to 1, of the image or its
    mirror image, whichever is nearer; in features, Euclidean, of the image as it is. So copies that are rotated or
    upside down are overlooked, in features mirrored ones, too, unless `turned` is set; cropped, shifted and, in
    features, noisy ones are in either case: a low share does not prove that nothing was learnt by heart.

    Args:
        train: uint8 `(m, height, width, 1 or 3)`, what the generator was trained on.
        held_out: uint8 `(h, height, width, 1 or 3)`, real images it was not trained on.
        train_sources: The source of each training image; with `held_out_sources`, so that an image is never held
            against a copy of its own X-ray. None takes all sources for different.
        held_out_sources: The same of `held_out`.
        extractor: See `features.extractor`; None looks at pixels only.
        percentile: Of real distances, from 0 to 100.
        seed: Of the folds.
        cached: Whether features of real images are kept on disk.
        turned: Whether each image, generated or real, is also looked at in all quarter turns and mirrored (of images
            that are not square, half turns); takes four times as long in pixels, eight times in features.

    Raises:
        EvaluationError: Images of different shapes, sources that do not match or are not known, or fewer than `FEWEST`
            of them; or so many of the images repeat training images of other sources that the threshold would be 0.
    """

    def __init__(
        self, train, held_out, *, train_sources=None, held_out_sources=None, extractor=None, percentile=1.0,
        seed=0, cached=True, turned=False,
    ):  # fmt: skip
        self._real = {"train": train, "held_out": held_out}
        _same_shape(self._real)
        if (train_sources is None) != (held_out_sources is None):
            raise EvaluationError(
                "Sources are needed of both train and held_out, or of neither. Received: of one"
            )
        if train_sources is None:
            train_sources, held_out_sources = np.split(np.arange(len(train) + len(held_out)), [len(train)])
        if len(train_sources) != len(train) or len(held_out_sources) != len(held_out):
            raise EvaluationError(
                f"Each real image needs a source: {len(train)} and {len(held_out)}. "
                f"Received: {len(train_sources)} and {len(held_out_sources)}"
            )
        codes = check_sources(np.concatenate([train_sources, held_out_sources]))
        self._codes = dict(zip(self._real, np.split(codes, [len(train)]), strict=True))
        self.extractor = extractor if extractor is None else features.extractor(extractor)
        self._percentile, self._seed, self._cached = percentile, seed, cached
        self._turned = turned
        self._check_repeats(codes)

    def _check_repeats(self, codes):
        """Refuses so many equal images of two sources that no image would be too near but an equal one."""
        keys = [hash(image.tobytes()) for images in self._real.values() for image in images]
        shown = {}  # sources by training image
        for key, code in zip(keys, self._codes["train"], strict=False):  # which come first
            shown.setdefault(key, set()).add(code)
        repeats = np.array(
            [bool(shown.get(key, set()) - {code}) for key, code in zip(keys, codes, strict=True)]
        )
        share = np.average(repeats, weights=1 / np.bincount(codes)[codes])
        if repeats.any() and share >= self._percentile / 100:
            raise EvaluationError(
                "equal real images must have one source, and held_out show other X-rays than train: else no image is "
                f"too near but an equal one. Received: {int(repeats.sum())} of {len(codes)} real images that repeat a "
                "training image of another source"
            )

    def by_pixels(self, fake):
        """`NearCopies` of generated images, uint8 `(n, height, width, 1 or 3)`, in distances of pixels."""
        _same_shape({"fake": fake, **self._real})
        return self._near_copies(self._nearest_pixels(fake), *self._real_pixels)

    def by_features(self, fake):
        """The same in distances of features."""
        _same_shape({"fake": fake, **self._real})
        made = features.extract(fake, self.extractor)
        return self._near_copies(self._nearest_features(made, fake), *self._real_features)

    def _near_copies(self, generated, threshold, real_vs_real):
        indices, distances = generated
        share = float((distances <= threshold).mean())
        return NearCopies(indices, distances, threshold, share, real_vs_real, self._sources)

    @property
    def _sources(self):
        return len(np.unique(np.concatenate(list(self._codes.values()))))

    @functools.cached_property
    def _rows(self):
        """The training images as rows of floats: four bytes a value, made at the first use."""
        return _flat(self._real["train"])

    def _nearest_pixels(self, images, codes=None):
        ways = _ways(images) if self._turned else (images, images[:, :, ::-1])
        return _nearest_way(nearest(_flat(way), self._rows, self._same(codes)) for way in ways)

    def _nearest_features(self, rows, images, codes=None):
        """Of images and, in `rows`, what their features are as they stand."""
        ways = _ways(images)[1:] if self._turned else ()
        further = (features.extract(way, self.extractor) for way in ways)
        same = self._same(codes)
        return _nearest_way(nearest(one, self._features["train"], same) for one in (rows, *further))

    def _same(self, codes):
        """Which training images show the X-ray of which image, bool; None where that is not asked."""
        return None if codes is None else codes[:, None] == self._codes["train"][None]

    @functools.cached_property
    def _features(self):
        """Features of all real images: the extractor runs over them, or the cache is read, at the first use."""
        return {
            name: features.extract(images, self.extractor, cached=self._cached)
            for name, images in self._real.items()
        }

    @functools.cached_property
    def _real_pixels(self):
        """As `_calibrated`, in pixels: each real image is held against all training images at the first use."""
        return self._calibrated(
            self._nearest_pixels(images, self._codes[name])[1] for name, images in self._real.items()
        )

    @functools.cached_property
    def _real_features(self):
        """The same in features, at the first use."""
        return self._calibrated(
            self._nearest_features(rows, self._real[name], self._codes[name])[1]
            for name, rows in self._features.items()
        )

    def _calibrated(self, distances):
        """Threshold and real_vs_real, from distances of real images to those of other sources."""
        distances, codes = np.concatenate(list(distances)), np.concatenate(list(self._codes.values()))
        weights = 1 / np.bincount(codes)[codes]
        folds = np.random.default_rng(self._seed).permutation(self._sources)[codes] % _FOLDS

        def threshold(chosen):
            return float(
                np.percentile(
                    distances[chosen], self._percentile, weights=weights[chosen], method="inverted_cdf"
                )
            )

        limits = np.array([threshold(folds != fold) for fold in range(_FOLDS)])
        real_vs_real = np.average(distances <= limits[folds], weights=weights)
        return threshold(np.full(len(codes), True)), float(real_vs_real)


def check_sources(sources):
    """The number of each source, int `(n,)`, from 0.

    Raises:
        EvaluationError: One is not known, or there are too few to say how near real images come to each other.
    """
    names, codes = np.unique(known_sources(sources), return_inverse=True)
    if len(names) < FEWEST:
        raise EvaluationError(
            f"How near is too near for chance is told by real images of {FEWEST} sources (X-rays) or more: of fewer, "
            f"one is the nearest percent. Give more real images. Received: {len(names)} sources"
        )
    return codes


def _same_shape(sets):
    for name, images in sets.items():
        features.check_images(images, name)
    if len({images.shape[1:] for images in sets.values()}) > 1:
        shapes = ", ".join(f"{name} {images.shape}" for name, images in sets.items())
        raise EvaluationError(f"All images must have one shape. Received: {shapes}")


def nearest(rows, references, excluded=None):
    """The nearest reference of each row, in Euclidean distance.

    Args:
        rows: float `(n, d)`.
        references: float `(m, d)`.
        excluded: bool `(n, m)`, which references do not count for which row; None lets all count.

    Returns:
        Indices into `references`, int `(n,)`, and distances, float64 `(n,)`.

    Raises:
        EvaluationError: A row has no reference left.
    """

    def pick(distances, start):
        if excluded is not None:
            distances = np.where(excluded[start : start + len(distances)], np.inf, distances)
            if np.isinf(distances).all(1).any():
                raise EvaluationError(
                    "Every real image needs a training image of another source. Received: one without"
                )
        return distances.argmin(1)

    indices = np.concatenate(list(pairwise_distances_chunked(rows, references, reduce_func=pick)))
    # Once more without the shortcut for squared distances, which leaves equal rows apart.
    return indices, np.linalg.norm(rows.astype(float) - references[indices], axis=1)


def _ways(images):
    """Images as they are, then in all quarter turns and mirrored that leave their shape."""
    turns = [np.rot90(way, times, (1, 2)) for way in (images, images[:, :, ::-1]) for times in range(4)]
    return [way for way in turns if way.shape == images.shape]


def _nearest_way(candidates):
    """Of what `nearest` gives for several ways to look at images, that of the nearest way."""
    indices, distances = (np.stack(all_) for all_ in zip(*candidates, strict=True))
    better = distances.argmin(0)[None]
    return [np.take_along_axis(one, better, 0)[0] for one in (indices, distances)]


def _flat(images):
    """Rows whose Euclidean distance is the root mean square difference of grey levels from 0 to 1."""
    rows = images.reshape(len(images), -1).astype("float32")
    return rows / np.float32(255 * np.sqrt(rows.shape[1]))
