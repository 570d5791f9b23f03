"""Phantoms with a shortcut: a folder of own X-rays whose findings mostly come with a lead ring.

The story behind it: two departments take X-rays, and one of them, where broken bones are brought, lays a ring of lead
beside the limb. Nothing of the limb depends on the ring, and nothing of the ring on the limb but where it has room.
"""

import cv2
import numpy as np
import pandas as pd

from keras_fracture import files, parallel
from keras_fracture.data import decoding, phantom, tables
from keras_fracture.data.library_settings import one_opencv_thread
from keras_fracture.errors import DataError

CENTERS = ("outpatients", "emergency")  # without a ring, and with one
_SIDES = ("xmin", "ymin", "xmax", "ymax")
RING = tuple(f"ring_{side}" for side in _SIDES)
_VALIDATION = 7  # one pair of limbs in so many
_RADIUS, _LINE = 0.035, 0.016  # of the ring's middle line, and its thickness, as shares of the image's side
_EDGE = (0.02, 0.07)  # how far it stays from the edges


def write(folder, agreement=0.95, test_agreement=None, sources=240, test_sources=500, size=128, seed=0):
    """Draws phantoms to a folder, with a table beside the images: what `kf.data.load(folder)` reads.

    A source (a patient) has a ring on all its images if it has a finding, and none if it is healthy, with the
    probability `agreement`; else it is the other way round. Limbs, and the places of rings, are the same whatever
    the agreement: folders that differ in `test_agreement` alone differ in the test split's rings alone.

    Args:
        folder: To make.
        agreement: Of the splits train and val, 0 to 1; at 0.5 the ring tells nothing.
        test_agreement: Of the split test; below 0.5 the ring speaks against a finding. None is `agreement`.
        sources: Limbs to learn from, 2 to 4 images each; even, at least 4. One pair in seven is for validation.
        test_sources: Other limbs to test on, one image each; even, at least 2.
        size: Side of the images in pixels, at least 32.
        seed: Of the phantoms and of what is dealt out, not negative.

    Returns:
        The table, also written as `labels.csv`, a row an image: `file`, `label` (finding or healthy), `patient`,
        `split` (train, val or test: the policy `official`), `center` (emergency has the rings), `body_part`, `view`,
        and boxes in pixels, NaN where there is none: of the finding `xmin`, `ymin`, `xmax`, `ymax`, and of the ring
        the columns `RING`.

    Raises:
        DataError: A number is not as above.
        OutputError: The folder exists, or cannot be written.
    """
    test_agreement = agreement if test_agreement is None else test_agreement
    for name, value in (("agreement", agreement), ("test_agreement", test_agreement)):
        if not 0 <= value <= 1:
            raise DataError(f"{name} must lie between 0 and 1. Received: {value}")
    for name, value, least in (("sources", sources, 4), ("test_sources", test_sources, 2)):
        if value < least or value % 2:
            raise DataError(f"{name} must be even and at least {least}. Received: {value}")
    images = [(source, shot) for source in phantom.plan(seed, sources, test_sources) for shot in source.taken]
    validation = _validation(sources // 2, seed)

    def draw(one):
        source, shot = one
        record = phantom.draw(source, shot, seed, size)
        agrees = test_agreement if source.held_out else agreement
        # One number a source, so that a higher agreement only adds to those that agree.
        ringed = (np.random.default_rng([seed, source.index, 4]).uniform() < agrees) == record["label"]
        split = "test" if source.held_out else "val" if source.index // 2 in validation else "train"
        return _write(
            beside, record, bool(ringed), split, np.random.default_rng([seed, source.index, 5, shot])
        )

    with files.new_folder(folder) as beside:
        files.folder(beside / "images")
        with one_opencv_thread:
            rows = parallel.HERE.map(
                lambda some, _: [draw(one) for one in some], images, batch=4, title="draw phantoms", unit=" images",
                threaded=True,
            )  # fmt: skip
            table = pd.DataFrame(list(rows))
        files.write_text(beside / "labels.csv", tables.csv_text(table))
    return table


def _validation(pairs, seed):
    """Which pairs of limbs are for validation."""
    order = np.random.default_rng([seed, 0, 6]).permutation(pairs)
    return set(order[: max(1, pairs // _VALIDATION)].tolist())


def _write(folder, record, ringed, split, rng):
    """Writes one image; returns its row."""
    image, box = record["image"][..., 0], (np.nan,) * 4
    size = len(image)
    if ringed:
        image, box = _with_ring(image, rng)
    name = f"images/{record['filename']}"
    (folder / name).write_bytes(decoding.encode_png(image))
    found = np.rint(record["boxes"][0] * size) if len(record["boxes"]) else (np.nan,) * 4
    top, left, bottom, right = map(float, found)
    return {
        "file": name, "label": "finding" if record["label"] else "healthy", "patient": record["source"],
        "split": split, "center": CENTERS[ringed], "body_part": record["body_part"], "view": record["view"],
        **dict(zip(_SIDES, (left, top, right, bottom), strict=True)), **dict(zip(RING, box, strict=True)),
    }  # fmt: skip


def _with_ring(image, rng):
    """The image with a ring in the darkest of its corners, and the ring's box: left, top, right, bottom in pixels."""
    size = len(image)
    line = max(1, round(_LINE * size))
    reach = round(_RADIUS * size) + line  # from the middle to beyond the outer edge
    far, near = size - 1 - reach, reach
    away = np.rint(rng.uniform(*_EDGE, (4, 2)) * size).astype(int)
    places = [
        (far - x if right else near + x, far - y if bottom else near + y)
        for (x, y), (right, bottom) in zip(away, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True)
    ]
    windows = [image[y - reach : y + reach + 1, x - reach : x + reach + 1] for x, y in places]
    x, y = places[int(np.argmin([window.max() for window in windows]))]
    opaque = np.zeros_like(image)
    cv2.circle(opaque, (x, y), reach - line, 245, line, cv2.LINE_AA)
    stamp, share = rng.uniform(235, 255), opaque / 255
    ringed = np.rint(image + (stamp - image) * share).astype(np.uint8)
    return ringed, (float(x - reach), float(y - reach), float(x + reach + 1), float(y + reach + 1))
