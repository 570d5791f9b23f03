"""Where a classifier looks: Grad-CAM and Grad-CAM++, and how well a heat map finds boxes."""

import numpy as np

from keras_fracture.data.levels import scaled_twice
from keras_fracture.errors import EvaluationError, ModelError

_TOLERANCE = 15 / 224  # of the longer side
_ROUNDING = 1e-6  # by which float32 boxes may lie beside the image


def gradcam(model, images, finding=None):
    """Heat over each image: what in it speaks for a finding.

    Source: Selvaraju et al. 2017, "Grad-CAM", Section 3. The gradient of the finding's logit with respect to
    the last convolutional maps, averaged over space, weighs the maps' channels; the ReLU of the weighted sum is
    enlarged bilinearly.

    Args:
        model: A classifier of this package with its top: it has `features`, `classify` and `pixel_range`.
        images: float32 `(n, height, width, channels)` of the model's `image_size` (where that is not None) and in its
            `pixel_range`; one batch, so pass no more than fit into memory.
        finding: Index of the finding's logit; None takes the only one, or the second of two.

    Returns:
        float32 `(n, height, width)`, the highest of each image 1; all 0 where nothing speaks for a finding.

    Raises:
        EvaluationError: No images of that shape, or a model without the two halves or with other outputs.
        ModelError: Values outside the pixel range, images that were scaled to it twice, or of another size than the
            model takes.
    """
    return _heat(model, images, finding, _mean_gradients)


def gradcam_plus_plus(model, images, finding=None):
    """As `gradcam`, but a pixel of the maps counts the more, the more it alone explains the logit.

    Source: Chattopadhay et al. 2018, "Grad-CAM++", Sections 3.2 and 3.3: channels are weighed by the positive parts of
    their gradients, each with the coefficient of the paper's equation 19 for an exponential of the logit, whose
    derivatives are powers of the first.

    Args:
        model: As in `gradcam`.
        images: As in `gradcam`.
        finding: As in `gradcam`.

    Returns:
        As `gradcam`.

    Raises:
        EvaluationError: As `gradcam`.
        ModelError: As `gradcam`.
    """
    return _heat(model, images, finding, _weighted_gradients)


def _mean_gradients(gradients, _):
    import tensorflow as tf

    return tf.reduce_mean(gradients, (1, 2), keepdims=True)


def _weighted_gradients(gradients, maps):
    import tensorflow as tf

    below = 2 * gradients**2 + tf.reduce_sum(maps, (1, 2), keepdims=True) * gradients**3
    shares = tf.math.divide_no_nan(gradients**2, below)
    return tf.reduce_sum(shares * tf.nn.relu(gradients), (1, 2), keepdims=True)


def _heat(model, images, finding, weigh):
    import tensorflow as tf  # here: metrics and tables do without, and importing it takes seconds

    from keras_fracture.models.preprocessing import check_range, check_size

    images = np.asarray(images, "float32")
    if images.ndim != 4 or 0 in images.shape:
        raise EvaluationError(f"images must be (n, height, width, channels). Received: {images.shape}")
    if not hasattr(model, "classify") or not getattr(model, "include_top", True):
        raise EvaluationError(
            f"Grad-CAM needs a classifier with features and classify. Received: {type(model).__name__}"
        )
    check_size(images, model)
    channels = getattr(model, "channels", images.shape[-1])
    if images.shape[-1] not in (1, channels):
        raise ModelError(
            f"images must be grey or of the model's {channels} channel(s). Received: {images.shape}"
        )
    if images.shape[-1] != channels:
        images = images.repeat(channels, axis=-1)
    check_range(images, model.pixel_range)
    # A single one may well be blank.
    if len(images) > 1 and scaled_twice(images.min(), images.max(), model.pixel_range):
        raise ModelError(
            "images must not be all but black, as they are after two divisions by 255: scale them once. "
            f"Received: {len(images)} images from {images.min():g} to {images.max():g}"
        )
    maps = tf.convert_to_tensor(model.features(images))
    with tf.GradientTape() as tape:
        tape.watch(maps)
        logits = model.classify(maps)
        if finding is None and logits.shape[-1] > 2:
            raise EvaluationError(f"The model must give one or two logits. Received: {logits.shape[-1]}")
        evidence = logits[:, -1 if finding is None else finding]
    # Images do not influence each other in inference: the sum's gradient is each one's own.
    gradients, maps = tf.cast(tape.gradient(evidence, maps), "float32"), tf.cast(maps, "float32")
    heat = tf.nn.relu(tf.reduce_sum(weigh(gradients, maps) * maps, -1, keepdims=True))
    heat = tf.image.resize(heat, images.shape[1:3], "bilinear")[..., 0]
    return tf.math.divide_no_nan(heat, tf.reduce_max(heat, (1, 2), keepdims=True)).numpy()


def pointing_game(heat, boxes, tolerance=None):
    """Whether the hottest pixel of each image lies on a finding.

    Source: Zhang et al. 2018, "Top-Down Neural Attention by Excitation Backprop", Section 4: a hit lies in a
    box or at most 15 pixels from one, of images of 224. Where several pixels are equally hot, the one nearest to their
    middle counts (enlarging leaves flat rims); an image without heat is a miss.

    Args:
        heat: `(n, height, width)`, not negative, as `gradcam` gives it.
        boxes: n arrays `(k, 4)` of ymin, xmin, ymax, xmax as fractions of the image as the model takes it (see
            `data.decoding.fit_boxes`), k at least 1.
        tolerance: Pixels from a box that still count; None is 15 for 224 pixels of the longer side, and in proportion
            for others, so that networks that take small images are not easier to pass.

    Returns:
        bool `(n,)`.

    Raises:
        EvaluationError: Other shapes, heat that is not finite, an image without boxes, or a box that is not such
            fractions (pixels, say).
    """
    heat = _checked(heat, boxes)
    targets = [_target(boxes_of_image, heat.shape[1:], tolerance) for boxes_of_image in boxes]
    hits = [each.max() > 0 and target[_hottest(each)] for each, target in zip(heat, targets, strict=True)]
    return np.array(hits, bool)


def chance(boxes, shape, tolerance=None):
    """The share of images that pointing at a random pixel would hit.

    Args:
        boxes: As for `pointing_game`.
        shape: `(height, width)` of the images in pixels.
        tolerance: As for `pointing_game`.

    Returns:
        The mean share of an image's pixels that count as a hit.

    Raises:
        EvaluationError: No images, or as for `pointing_game`.
    """
    if not len(boxes):
        raise EvaluationError("The chance level needs at least one image with boxes. Received: none")
    return float(np.mean([_target(boxes_of_image, shape, tolerance).mean() for boxes_of_image in boxes]))


def chance_of_others(heat, boxes, tolerance=None, sources=None):
    """The share of images that the hottest point of another image's heat would hit, over all pairs.

    A map that lies on the limb, or in the middle, without looking at the image reaches this.

    Args:
        heat: As for `pointing_game`, of two images or more.
        boxes: As for `pointing_game`.
        tolerance: As for `pointing_game`.
        sources: The source of each image: two of one source, which show the same finding, make no pair. None makes
            each image its own.

    Raises:
        EvaluationError: One image, all of one source, or as for `pointing_game`.
    """
    heat = _checked(heat, boxes)
    if len(heat) < 2:
        raise EvaluationError(f"Other images' heat needs two images. Received: {len(heat)}")
    sources = np.arange(len(heat)) if sources is None else np.asarray(sources)
    if sources.shape != (len(heat),):
        raise EvaluationError(
            f"sources must be one for each of {len(heat)} images. Received: {sources.shape}"
        )
    others = sources[:, None] != sources
    if not others.any():
        raise EvaluationError("Other images' heat needs images of two sources. Received: all of one")
    targets = np.stack([_target(own, heat.shape[1:], tolerance) for own in boxes])
    points = np.array([_hottest(each) if each.max() > 0 else (-1, -1) for each in heat])
    hits = targets[:, points[:, 0], points[:, 1]] & (points[:, 0] >= 0)  # (boxes of an image, heat of one)
    return float((hits & others).sum() / others.sum())


def box_overlap(heat, boxes):
    """Intersection over union of an image's boxes and as many of its hottest pixels, those without heat left out.

    Args:
        heat: As for `pointing_game`.
        boxes: As for `pointing_game`.

    Returns:
        float64 `(n,)`, 0 to 1; and what as many random pixels would reach on average, `(n,)`.

    Raises:
        EvaluationError: As `pointing_game`.
    """
    heat = _checked(heat, boxes)
    overlaps, by_chance = [], []
    for each, own in zip(heat, boxes, strict=True):
        target = _target(own, each.shape, 0)
        count = max(int(target.sum()), 1)
        hottest = np.zeros(each.size, bool)
        hottest[np.argsort(each, axis=None, kind="stable")[-count:]] = True
        hottest = hottest.reshape(each.shape) & (each > 0)
        overlaps.append((target & hottest).sum() / max((target | hottest).sum(), 1))
        share = target.mean()
        by_chance.append(share / (2 - share))
    return np.array(overlaps), np.array(by_chance)


def _checked(heat, boxes):
    heat = np.asarray(heat)
    if heat.ndim != 3 or len(heat) != len(boxes):
        raise EvaluationError(
            f"heat must be (n, height, width) with boxes for each. Received: {heat.shape}, {len(boxes)} boxes"
        )
    if odd := int((~np.isfinite(heat)).any((1, 2)).sum()):
        raise EvaluationError(
            f"heat must be finite. Received: {odd} of {len(heat)} images with NaN or infinity"
        )
    return heat


def _target(boxes, shape, tolerance):
    """Which pixels are hits: bool `shape`, true where a pixel's centre is near enough to any of the boxes."""
    tolerance = _TOLERANCE * max(shape) if tolerance is None else tolerance
    boxes = np.asarray(boxes, "float64")
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
        raise EvaluationError(f"boxes of an image must be (k, 4), k at least 1. Received: {boxes.shape}")
    inside = (boxes >= -_ROUNDING) & (boxes <= 1 + _ROUNDING)  # NaN is not
    odd = ~inside.all(1) | (boxes[:, :2] > boxes[:, 2:]).any(1)
    if odd.any():
        raise EvaluationError(
            "boxes must be ymin, xmin, ymax, xmax from 0 to 1, the smaller first: divide pixels by height and width. "
            f"Received: {boxes[np.argmax(odd)].tolist()}"
        )
    top, left, bottom, right = (boxes * np.tile(shape, 2)).T[:, :, None]
    rows, columns = (np.arange(side)[None] + 0.5 for side in shape)
    above = np.maximum(np.maximum(top - rows, rows - bottom), 0)
    beside = np.maximum(np.maximum(left - columns, columns - right), 0)
    return (np.hypot(above[:, :, None], beside[:, None, :]) <= tolerance).any(0)


def _hottest(heat):
    """Row and column of the maximum."""
    pixels = np.argwhere(heat == heat.max())
    return tuple(pixels[np.argmin(((pixels - pixels.mean(0)) ** 2).sum(1))])
