"""Patches to learn from: windows round lesions, and such windows where there is none.

Source: Gupta, Chopra and Ledig, "Generative Bone Lesions Synthesis for Data Augmentation in X-ray", Patch-making
and Figure 1. How far windows reach, and where healthy ones lie, is not said there.
"""

import logging
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from keras_fracture.errors import SynthesisError
from keras_fracture.synthesis.resampling import SMALLEST, check_images, check_size, cut

CONTEXT = (1.2, 2.0)
LEAST = 16  # pixels; what is smaller shows nothing once it is scaled up
_LOG = logging.getLogger(__name__)
_DARK = 8  # grey levels; padding, collimation and air of JPEG files lie below
_POSITIONS, _TRIES = (
    10,
    10,
)  # an image in which no window fits at so many positions, so often moved, is given up


@dataclass(frozen=True)
class Patches:
    """Windows of images, scaled to squares.

    Attributes:
        images: uint8 `(n, size, size, channels)`.
        windows: int64 `(n, 4)`, top, left, height, width in pixels.
        rows: int64 `(n,)`, the image each one is of.
        body_parts: str `(n,)`.
        positions: float64 `(n, 4)`: the centre's y and x as fractions of the image's content (the box round all
            that is not black), the longer side over the square root of that content's area, and the mean grey
            level over the content's.
    """

    images: np.ndarray
    windows: np.ndarray
    rows: np.ndarray
    body_parts: np.ndarray
    positions: np.ndarray

    def __len__(self):
        return len(self.rows)


def lesion_windows(boxes, shape, rng, context=CONTEXT, least=LEAST, area=None):
    """Draws a window round each box: a square whose side is the box's longer one times a random factor.

    A square that would reach over the edge is slid inwards; one longer than the area is as long as the area.

    Args:
        boxes: float `(k, 4)`, ymin, xmin, ymax, xmax as fractions of the image.
        shape: Height and width of the image in pixels.
        rng: A NumPy generator.
        context: Least and largest factor, 1 or more.
        least: Least side in pixels: smaller boxes get more context.
        area: Top, left, height, width in pixels of the part of the image to stay in, where the box allows;
            default all.

    Returns:
        int64 `(k, 4)`, top, left, height, width in pixels. Each holds its box wholly.

    Raises:
        SynthesisError: A box does not lie in the image, factors below 1 or out of order, or `least` is
            below 3 or above the image's side.
    """
    if not 1 <= context[0] <= context[1]:
        raise SynthesisError(
            f"Context factors must be 1 or more, the smaller one first. Received: {tuple(context)}"
        )
    if not SMALLEST <= least <= min(shape[:2]):
        raise SynthesisError(
            f"The least side of a window must lie between {SMALLEST} and the image's. "
            f"Received: {least} for an image of {shape[0]} x {shape[1]}"
        )
    area = (0, 0, *shape[:2]) if area is None else area
    factors = rng.uniform(*context, len(boxes))
    windows = [
        _window_round(box * np.tile(shape[:2], 2), shape, factor, least, area)
        for box, factor in zip(_checked(boxes), factors, strict=True)
    ]
    return np.array(windows, np.int64).reshape(-1, 4)


def lesion_patches(images, boxes, body_parts, size, count, seed, context=CONTEXT, least=LEAST):
    """Cuts patches round lesions: each box in turn, every time with another context.

    Windows stay off the black margins of fitted and padded images, so that a margin tells nothing.

    Args:
        images: uint8 `(n, height, width, channels)`.
        boxes: For each image float `(k, 4)`, fractions of the (padded) image, maybe empty.
        body_parts: For each image a str.
        size: Side of the patches in pixels.
        count: Number of patches.
        seed: Of the drawing.
        context: As in `lesion_windows`.
        least: As in `lesion_windows`.

    Returns:
        `Patches`.

    Raises:
        SynthesisError: No box at all, or as in `lesion_windows`.
    """
    boxes, body_parts = list(boxes), list(body_parts)  # by place: a table's columns are asked by their index
    _check(images, body_parts, size, count, boxes)
    rng = np.random.default_rng(seed)
    turns = [
        (row, box) for row, boxes_of_image in enumerate(boxes) for box in np.reshape(boxes_of_image, (-1, 4))
    ]
    if not turns:
        raise SynthesisError(f"There must be a lesion box. Received: none in {len(images)} images")
    order = rng.permutation(len(turns))
    rows, windows = [], []
    for turn in range(count):
        row, box = turns[order[turn % len(turns)]]
        image = images[row]
        rows.append(row)
        windows.append(lesion_windows([box], image.shape, rng, context, least, _content(image))[0])
    return _patches(images, rows, windows, body_parts, size)


def healthy_patches(
    images,
    body_parts,
    lesions,
    size,
    count,
    seed,
    boxes=None,
    jitter=0.05,
    level=0.25,
    black=0.1,
    any_part=False,
):
    """Cuts patches without lesions where lesions of the same body part lie, and as large.

    Each patch takes the place of a lesion's window, relative to what is not black in its image, moved and scaled
    a little, and is about as bright relative to its image: else many would show no bone. An image is
    given up once no window fits, and how many were is logged as a warning.

    Args:
        images: uint8 `(n, height, width, channels)`, taken in turn.
        body_parts: For each image a str.
        lesions: `Patches` of lesions, whose positions are taken.
        size: Side of the patches in pixels.
        count: Number of patches.
        seed: Of the drawing.
        boxes: For each image float `(k, 4)` of lesions to stay off, or None.
        jitter: Furthest way moved, as a share of the content's side, and largest change of the window's side, as
            a share of that.
        level: Largest difference in brightness from the lesion's window, as a share of that.
        black: Largest share of a window that black border may take: pixels of level 8 or less that are connected
            with the image's edge, as padding, collimation and air are.
        any_part: Whether a body part without lesions takes the positions of all parts.

    Returns:
        `Patches`.

    Raises:
        SynthesisError: A body part without lesions, no image in which a window fits, or a value not allowed.
    """
    boxes = [()] * len(images) if boxes is None else list(boxes)
    body_parts = [str(part) for part in body_parts]  # as `Patches` has them
    _check(images, body_parts, size, count, boxes)
    if not (0 <= jitter < 1 and 0 <= black <= 1 and level > 0):
        raise SynthesisError(
            "jitter and black must be shares from 0 to 1, and level positive. "
            f"Received: {jitter}, {black}, {level}"
        )
    if not len(lesions):
        raise SynthesisError("There must be lesions whose positions to take. Received: no patches")
    positions = {}
    for part in sorted(set(body_parts)):
        chosen = lesions.body_parts == part
        positions[part] = lesions.positions[chosen] if chosen.any() else lesions.positions
        if not chosen.any() and not any_part:
            known = ", ".join(sorted(set(lesions.body_parts)))
            raise SynthesisError(
                f"There are lesions of {known} only: leave other parts out or set any_part. Received: {part!r}"
            )
    rng = np.random.default_rng(seed)
    turns, rows, windows = deque(rng.permutation(len(images)).tolist()), [], []
    while turns and len(rows) < count:
        row = turns.popleft()
        blocked = _blocked(images[row], boxes[row], black)
        window = _fitting(images[row], positions[body_parts[row]], blocked, jitter, level, rng)
        if window is not None:
            turns.append(row)
            rows.append(row)
            windows.append(window)
    if not turns:
        raise SynthesisError(
            f"In no image a window of such brightness fits off lesions and black border in {_POSITIONS * _TRIES} "
            "tries: "
            f"give others, or larger level or black. Received: {len(images)} images, {level}, {black}"
        )
    if len(turns) < len(images):
        _LOG.warning(
            "%d of %d images given up: no window of such brightness off lesions and black border in %d tries",
            len(images) - len(turns), len(images), _POSITIONS * _TRIES,
        )  # fmt: skip
    return _patches(images, rows, windows, body_parts, size)


def _fitting(image, positions, blocked, jitter, level, rng):
    """A window at one of the `positions` that is not `blocked`, or None."""
    area = _content(image)
    scale = np.sqrt(area[2] * area[3])
    # Each position is tried several times: else the large windows, which fit more easily, would win.
    for y, x, side, wanted in np.repeat(
        positions[rng.integers(len(positions), size=_POSITIONS)], _TRIES, axis=0
    ):
        move, growth = rng.uniform(-jitter, jitter, 2) * scale, 1 + rng.uniform(-jitter, jitter)
        centre = area[0] + y * area[2] + move[0], area[1] + x * area[3] + move[1]
        lines = [
            _line(c, side * scale * growth, *limits) for c, limits in zip(centre, _limits(area), strict=True)
        ]
        window = [first for first, _ in lines] + [length for _, length in lines]
        if not blocked(window) and abs(_level(image, window, area) - wanted) <= level * wanted:
            return window
    return None


def _window_round(box, shape, factor, least, area):
    """A window round a box in pixels."""
    first, last = np.floor(box[:2] + 1e-3).astype(int), np.ceil(box[2:] - 1e-3).astype(int)
    side = max(factor * max(box[2] - box[0], box[3] - box[1]), least)
    lines = []
    for axis, (low, high) in enumerate(_limits(area)):
        low, high = min(low, first[axis]), max(high, last[axis])
        if high - low < SMALLEST:
            low, high = 0, shape[axis]
        # The centre is less than half a pixel off that of the whole pixels: rounding leaves none of them out.
        shortest = last[axis] - first[axis]
        lines.append(_line((box[axis] + box[axis + 2]) / 2, max(side, shortest), low, high))
    return [first for first, _ in lines] + [length for _, length in lines]


def _line(centre, side, low, high):
    """Start and length in pixels of a stretch of `side` round `centre`, slid to lie between `low` and `high`."""
    length = min(max(SMALLEST, round(side)), high - low)
    return int(np.clip(round(centre - length / 2), low, high - length)), length


def _limits(area):
    return (area[0], area[0] + area[2]), (area[1], area[1] + area[3])


def _content(image):
    """Top, left, height, width of the box round all that is not black; the whole image if that is too small."""
    light = image.max(axis=-1) > _DARK
    rows, columns = np.flatnonzero(light.any(1)), np.flatnonzero(light.any(0))
    if not len(rows) or min(np.ptp(rows), np.ptp(columns)) + 1 < SMALLEST:
        return 0, 0, *image.shape[:2]
    return int(rows[0]), int(columns[0]), int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def _blocked(image, boxes, black):
    """A function that says whether a window meets a lesion, or too much black border."""
    dark = (image.max(axis=-1) <= _DARK).astype(np.uint8)
    _, regions = cv2.connectedComponents(dark, connectivity=4)
    at_edge = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    border = np.isin(regions, at_edge) & (dark > 0)
    lesions = _checked(boxes) * np.tile(image.shape[:2], 2)

    def blocked(window):
        top, left, height, width = window
        meets = (lesions[:, :2] < [top + height, left + width]) & (lesions[:, 2:] > [top, left])
        return meets.all(1).any() or border[top : top + height, left : left + width].mean() > black

    return blocked


def _patches(images, rows, windows, body_parts, size):
    patches = np.stack([cut(images[row], window, size) for row, window in zip(rows, windows, strict=True)])
    positions = [
        _position(images[row], window, _content(images[row]))
        for row, window in zip(rows, windows, strict=True)
    ]
    parts = np.array([str(body_parts[row]) for row in rows])
    return Patches(patches, np.array(windows, np.int64), np.array(rows, np.int64), parts, np.array(positions))


def _position(image, window, area):
    """Where a window lies in an area, as in `Patches.positions`."""
    top, left, height, width = area
    y, x = window[0] + window[2] / 2 - top, window[1] + window[3] / 2 - left
    side = max(window[2:]) / np.sqrt(height * width)
    return y / height, x / width, side, _level(image, window, area)


def _level(image, window, area):
    here, everywhere = (image[a : a + h, b : b + w].mean() for a, b, h, w in (window, area))
    return here / max(everywhere, 1e-9)


def _checked(boxes):
    """Boxes as float64 `(k, 4)`, checked; rounding errors of float32 are cut off."""
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    wrong = ~((boxes[:, :2] < boxes[:, 2:]).all(1) & (boxes >= -1e-4).all(1) & (boxes <= 1 + 1e-4).all(1))
    if wrong.any():
        raise SynthesisError(
            "Boxes must be ymin, xmin, ymax, xmax as fractions of the image, from 0 to 1. "
            f"Received: {boxes[wrong][0].tolist()}"
        )
    return boxes.clip(0, 1)


def _check(images, body_parts, size, count, boxes):
    check_images(images)
    check_size(size)
    if count < 1:
        raise SynthesisError(f"The number of patches must be 1 or more. Received: {count}")
    if not len(images) == len(body_parts) == len(boxes):
        raise SynthesisError(
            "There must be a body part, and boxes (maybe none), for every image. "
            f"Received: {len(images)} images, {len(body_parts)} parts, {len(boxes)} boxes"
        )
