"""Whether a generator copies: the training picture nearest to each generated one, and how near is too near."""

import dataclasses

import numpy as np
from sklearn.metrics import pairwise_distances_chunked

from keras_fracture.errors import EvaluationError
from keras_fracture.evaluation import features
from keras_fracture.evaluation.generative import halves


@dataclasses.dataclass(frozen=True)
class NearCopies:
    """The training picture nearest to each generated one, in one kind of distance.

    Attributes:
        indices: int `(n,)`, its place in the training set.
        distances: float `(n,)`.
        threshold: Distance up to which a picture counts as a near copy.
        share: Of generated pictures that are near copies.
        floor: The same share of held-out real pictures that had no part in the threshold.
        held_out: How many those are.
    """

    indices: np.ndarray
    distances: np.ndarray
    threshold: float
    share: float
    floor: float
    held_out: int

    def closest(self, count=16):
        """Places of the closest pairs, closest first: two int arrays, generated and training pictures."""
        order = np.argsort(self.distances, kind="stable")[:count]
        return order, self.indices[order]

    def summary(self):
        """A dict for JSON: `value` (the share), `floor`, `threshold`, `pictures`, `held_out`."""
        return {
            "value": self.share,
            "floor": self.floor,
            "threshold": self.threshold,
            "pictures": len(self.distances),
            "held_out": self.held_out,
        }


def near_copies(
    fake, train, held_out, *, train_sources=None, held_out_sources=None, extractor=None, percentile=1.0,
    seed=0, cached=True,
):  # fmt: skip
    """Looks for generated pictures that copy training pictures.

    What is too near is taken from real pictures: the held-out ones are parted by source into two halves; the
    first gives the threshold, the `percentile`-th percentile of distances to the nearest training picture of
    another source, and the second the floor, the share of real pictures that lie as near by chance, about
    `percentile` / 100. Both need some hundreds of pictures to say much.

    Distances are, in `pixels`, the root mean square difference of grey levels from 0 to 1, of the picture or
    its mirror image, whichever is nearer; in `features`, Euclidean.

    Args:
        fake: uint8 `(n, height, width, 1 or 3)`.
        train: uint8 `(m, height, width, 1 or 3)`, what the generator was trained on.
        held_out: uint8 `(h, height, width, 1 or 3)`, real pictures it was not trained on.
        train_sources: The source of each training picture; with `held_out_sources`, so that a held-out picture is
            never held against a copy of its own X-ray. None takes all sources for different.
        held_out_sources: The same of `held_out`, and the groups of its halves.
        extractor: See `features.extractor`; None looks at pixels only.
        percentile: Of real distances, from 0 to 100.
        seed: Of the halves.
        cached: Whether features of real pictures are kept on disk.

    Returns:
        A dict of "pixels", and with an extractor "features", to `NearCopies`.

    Raises:
        EvaluationError: Pictures of different shapes, sources that do not match, or too few held-out sources.
    """
    sets = {"fake": fake, "train": train, "held_out": held_out}
    for name, pictures in sets.items():
        features.check_pictures(pictures, name)
    if len({pictures.shape[1:] for pictures in sets.values()}) > 1:
        shapes = ", ".join(f"{name} {pictures.shape}" for name, pictures in sets.items())
        raise EvaluationError(f"All pictures must have one shape. Received: {shapes}")
    if (train_sources is None) != (held_out_sources is None):
        raise EvaluationError(
            "Sources are needed of both train and held_out, or of neither. Received: of one"
        )
    if train_sources is None:
        train_sources, held_out_sources = np.full(len(train), -1), np.arange(len(held_out))
    train_sources, held_out_sources = np.asarray(train_sources), np.asarray(held_out_sources)
    if len(train_sources) != len(train) or len(held_out_sources) != len(held_out):
        raise EvaluationError(
            f"Each real picture needs a source: {len(train)} and {len(held_out)}. "
            f"Received: {len(train_sources)} and {len(held_out_sources)}"
        )
    parts = halves(held_out_sources, seed)
    same = held_out_sources[:, None] == train_sources[None]

    def judge(generated, real):
        indices, distances = generated
        near = float(np.percentile(real[parts[0]], percentile))
        share, floor = (float((found <= near).mean()) for found in (distances, real[parts[1]]))
        return NearCopies(indices, distances, near, share, floor, len(parts[1]))

    pixels = {name: _flat(pictures) for name, pictures in sets.items()}

    def either_way(name, same_source=None):
        mirrored = _flat(sets[name][:, :, ::-1])
        views = [nearest(rows, pixels["train"], same_source) for rows in (pixels[name], mirrored)]
        indices, distances = (np.stack(found) for found in zip(*views, strict=True))
        better = distances.argmin(0)[None]
        return [np.take_along_axis(found, better, 0)[0] for found in (indices, distances)]

    found = {"pixels": judge(either_way("fake"), either_way("held_out", same)[1])}
    if extractor is not None:
        chosen = features.extractor(extractor)
        made, seen, unseen = (
            features.extract(pictures, chosen, cached=cached and name != "fake")
            for name, pictures in sets.items()
        )
        found["features"] = judge(nearest(made, seen), nearest(unseen, seen, same)[1])
    return found


def nearest(rows, references, excluded=None):
    """The nearest reference of each row, in Euclidean distance.

    Args:
        rows: float `(n, d)`.
        references: float `(m, d)`.
        excluded: bool `(n, m)`, which references do not count for which row; None lets all count.

    Returns:
        Places among `references`, int `(n,)`, and distances, float64 `(n,)`.

    Raises:
        EvaluationError: A row has no reference left.
    """

    def pick(distances, start):
        if excluded is not None:
            distances = np.where(excluded[start : start + len(distances)], np.inf, distances)
            if np.isinf(distances).all(1).any():
                raise EvaluationError(
                    "Every held-out picture needs a training picture of another source. Received: one without"
                )
        return distances.argmin(1)

    indices = np.concatenate(list(pairwise_distances_chunked(rows, references, reduce_func=pick)))
    # Once more without the shortcut for squared distances, which leaves equal rows apart.
    return indices, np.linalg.norm(rows.astype(float) - references[indices], axis=1)


def _flat(pictures):
    """Rows whose Euclidean distance is the root mean square difference of grey levels from 0 to 1."""
    rows = pictures.reshape(len(pictures), -1).astype("float32")
    return rows / np.float32(255 * np.sqrt(rows.shape[1]))
