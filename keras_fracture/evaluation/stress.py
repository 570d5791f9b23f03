"""Changes of an X-ray that keep its label: what a classifier reads is told by what it loses under each.

All functions take and give uint8 grey images `(height, width)`, as `data.decoding.decode` gives them, and leave what
they are given as it is. Boxes in pixels are int `(k, 4)`: top, left, bottom, right, the last two beside the box.
"""

import cv2
import numpy as np
from skimage.filters import threshold_multiotsu

from keras_fracture.data import levels
from keras_fracture.errors import ImageError

SIDE = 16  # pixels of the longest side that `low_pass` leaves
_RADIUS = 5  # pixels round each that `cv2.inpaint` looks at
_TRIES = 200  # places that are looked at for a box
_ALIKE = 0.05  # by how much the share of body in two boxes may differ
# Of markers, as shares of the longest side: of one letter, of a word or a group of them, and round them.
_LETTER, _WORD, _SMALLEST, _NEAR, _FAR = 0.12, 0.25, 0.008, 0.008, 0.025
_CONTRAST, _FLAT, _BRIGHT = 80, 24, 0.8  # grey levels above the ground, range of the ground, share of the top


def pixels(boxes, shape):
    """Boxes in whole pixels, at least one each; those that lie outside the image are left out.

    Args:
        boxes: `(k, 4)`: ymin, xmin, ymax, xmax as fractions of the image.
        shape: `(height, width)` of the image.

    Returns:
        int `(m, 4)`, m at most k.
    """
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    inside = (boxes[:, :2] < 1).all(1) & (boxes[:, 2:] > 0).all(1) & (boxes[:, 2:] >= boxes[:, :2]).all(1)
    # Float32 fractions of whole pixels miss these by less than a thousandth.
    scaled = np.clip(boxes[inside], 0, 1) * np.tile(shape, 2)
    starts = np.minimum(np.floor(scaled[:, :2] + 1e-3), np.array(shape) - 1)
    stops = np.maximum(np.ceil(scaled[:, 2:] - 1e-3), starts + 1)
    return np.hstack([starts, stops]).astype(int)


def widened(boxes, shape, factor):
    """Boxes `factor` times as wide and high about the same middle, as far as the image goes; all in pixels."""
    grown = np.ceil((boxes[:, 2:] - boxes[:, :2]) * (factor - 1) / 2).astype(int)
    return np.hstack([np.maximum(boxes[:, :2] - grown, 0), np.minimum(boxes[:, 2:] + grown, shape)])


def fill(image, mask):
    """The image with what is masked filled from its surroundings; the rest stays as it is, to the bit.

    Telea's inpainting, OpenCV's; all of an image that is masked wholly becomes its mean.

    Args:
        image: The image.
        mask: bool `(height, width)`.

    Raises:
        ImageError: Another shape or type.
    """
    _check(image)
    if mask.all():
        return np.full_like(image, round(float(image.mean())))
    return np.where(mask, cv2.inpaint(image, mask.astype(np.uint8), _RADIUS, cv2.INPAINT_TELEA), image)


def hide(image, boxes):
    """The image with its boxes, in pixels, filled from their surroundings."""
    mask = np.zeros(image.shape, bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return fill(image, mask)


def hide_centre(image):
    """The image without its middle, half as high and half as wide, which is filled from its surroundings."""
    height, width = image.shape
    return hide(image, [(height // 4, width // 4, height - height // 4, width - width // 4)])


def only_border(image):
    """The outermost eighth on each side; the rest is that border's mean."""
    _check(image)
    rows, columns = (max(1, side // 8) for side in image.shape)
    inner = np.zeros(image.shape, bool)
    inner[rows:-rows, columns:-columns] = True
    if inner.all() or not inner.any():
        return image
    return np.where(inner, np.uint8(round(float(image[~inner].mean()))), image)


def low_pass(image, side=SIDE):
    """The image shrunk until its longest side has `side` pixels (means of areas), and enlarged again (bilinear)."""
    _check(image)
    height, width = image.shape
    factor = side / max(height, width)
    small = max(1, round(width * factor)), max(1, round(height * factor))
    shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)


def markers(image):
    """Where letters and markers lie: bright, small and off the body.

    What is brighter than the upper of Otsu's two thresholds, in pieces of up to 12 % of the longest side that do not
    touch the image's edge; pieces within 1.6 % of each other count as one, of up to 25 %. It must be nearly as bright
    (80 %) as the image's brightest, and lie on even ground that is darker than the lower threshold, and 80 levels
    darker than itself. So letters on the body are not found, nor those cut by the edge.

    Args:
        image: The image.

    Returns:
        bool `(height, width)`, with a rim of 0.8 % of the longest side.
    """
    image = _upright(image)
    found = np.zeros(image.shape, bool)
    if len(np.unique(image)) < 3:
        return found
    longest = max(image.shape)
    near, far = max(1, round(_NEAR * longest)), max(3, round(_FAR * longest))
    ground, bright = threshold_multiotsu(image, 3)
    small = _small(image > bright, _LETTER * longest)
    grown = cv2.dilate(small.astype(np.uint8), _square(near))
    count, names, boxes, _ = cv2.connectedComponentsWithStats(grown, connectivity=8)
    top = np.quantile(image, 0.999)
    for number in range(1, count):
        left, up, width, height = boxes[number, :4]
        if not _SMALLEST * longest <= max(width, height) - 2 * near <= _WORD * longest:
            continue
        window = slice(max(0, up - far), up + height + far), slice(max(0, left - far), left + width + far)
        mine = names[window] == number
        wider = cv2.dilate(mine.astype(np.uint8), _square(far - near)) > 0
        ring = image[window][wider & (grown[window] == 0)]
        letters = image[window][mine & small[window]]
        if len(ring) and _is_marker(letters, ring, ground, top):
            found[window] |= mine
    return found


def _is_marker(letters, ring, ground, top):
    darkest, brightest = np.quantile(ring, (0.1, 0.75))
    return (
        brightest <= ground
        and brightest - darkest <= _FLAT
        and np.median(letters) - np.median(ring) >= _CONTRAST
        and np.quantile(letters, 0.75) >= _BRIGHT * top
    )


def _small(mask, longest):
    """Those pieces of a mask that are up to so long, and do not touch the image's edge."""
    _, names, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    left, top, width, height = boxes.T[:4]
    within = (left > 0) & (top > 0) & (left + width < mask.shape[1]) & (top + height < mask.shape[0])
    kept = within & (np.maximum(width, height) <= longest)
    kept[0] = False  # what is not in the mask
    return kept[names]


def _square(reach):
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)


def body(image):
    """Which pixels are body rather than ground: brighter than Otsu's threshold, in an image whose bones are bright."""
    image = _upright(image)
    return image > cv2.threshold(image, 0, 255, cv2.THRESH_OTSU)[0]


def covered(inside, boxes):
    """The share of body in each box, float `(k,)`; `inside` is what `body` gives."""
    return np.array([inside[top:bottom, left:right].mean() for top, left, bottom, right in boxes])


def place(inside, boxes, shares, rng, off=()):
    """Moves boxes to the nearest places that look alike, so that what fills them tells nothing by where it lies.

    Args:
        inside: What `body` gives of the image.
        boxes: In pixels.
        shares: How much of each box is to be body, within 0.05 if there is such a place; see `covered`.
        rng: A NumPy generator.
        off: Boxes in pixels that they stay away from, so that nothing of these is drawn into what fills them.

    Returns:
        int `(k, 4)`, of the same sizes; None where there is no room.
    """
    moved = [_place(inside, box, share, rng, off) for box, share in zip(boxes, shares, strict=True)]
    return None if any(box is None for box in moved) else np.array(moved, int).reshape(-1, 4)


def _place(inside, box, share, rng, off):
    shape = np.array(inside.shape)
    size = np.array(box[2:]) - box[:2]
    best, miss = None, np.inf
    for tried in range(_TRIES):
        shift = rng.normal(0, 0.5 * tried / _TRIES, 2) * shape  # first where it is, then ever further
        start = np.clip(np.rint(box[:2] + shift), 0, shape - size).astype(int)
        stop = start + size
        if any(
            (start < each[2:] + _RADIUS).all() and (stop + _RADIUS > each[:2]).all()
            for each in np.asarray(off)
        ):
            continue
        differs = abs(inside[start[0] : stop[0], start[1] : stop[1]].mean() - share)
        if differs < miss:
            best, miss = (*start, *stop), differs
        if miss <= _ALIKE:
            break
    return best


def _upright(image):
    """The image with bright bones."""
    _check(image)
    return 255 - image if levels.looks_inverted(image) else image


def _check(image):
    if image.ndim != 2 or image.dtype != np.uint8 or not image.size:
        raise ImageError(
            f"An image must be uint8 (height, width): see data.decoding. Received: {image.dtype} {image.shape}"
        )
