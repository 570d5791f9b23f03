"""The tab *Read an X-ray*: what a classifier says of an image, and what in it speaks for that."""

import dataclasses
import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from keras_fracture.data import decoding, dicom, levels
from keras_fracture.demo import phantoms, showing
from keras_fracture.errors import ImageError
from keras_fracture.report import answers
from keras_fracture.report.figures import heated
from keras_fracture.serving import limits
from keras_fracture.serving.metadata import of_finding

NOT_CLINICAL = "Not for clinical use. A model's answer is no diagnosis."
_SIDE = 512  # pixels; explanations are computed and shown no larger


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a model says of an image.

    Attributes:
        image: uint8 `(height, width)`, 512 pixels a side at most.
        probability: Of a finding.
        threshold: The model's own.
        chosen: How that was chosen, in words, or None.
        gradcam: float32 `(height, width)`, 0 to 1: Grad-CAM times the probability.
        occlusion: float32 `(height, width)`, 0 to 1: how far the probability falls with a place greyed out.
        inverted: Whether the image looks inverted.
        boxes: `(n, 4)` of ymin, xmin, ymax, xmax as fractions; None where it is not known where findings lie.
    """

    image: np.ndarray
    probability: float
    threshold: float
    chosen: str | None
    gradcam: np.ndarray
    occlusion: np.ndarray
    inverted: bool
    boxes: np.ndarray | None

    @property
    def finding(self):
        """Whether the model says that there is a finding."""
        return self.probability >= self.threshold


def checked(data, name="image"):
    """The decoded image of an upload, of which nothing is trusted.

    Args:
        data: Bytes.
        name: What errors call it.

    Returns:
        uint8 `(height, width)`.

    Raises:
        ImageError: Empty, too large, cut off, or no image.
        DataError: A DICOM file, and pydicom is not installed.
    """
    if len(data) > limits.MAX_BYTES:
        raise ImageError(f"{name} must have {limits.MAX_BYTES:,} bytes at most. Received: {len(data):,}")
    if not dicom.is_dicom(data):
        _check_size(data, name)
    decoded = decoding.decode(data, name)
    if decoded.truncated:
        raise ImageError(f"{name} is cut off (no end marker): fetch it again. Received: {len(data):,} bytes")
    return decoded.image


def _check_size(data, name):
    """Refuses what announces more pixels than any X-ray has, before they are unpacked."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as image:
            width, height = image.size
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name} must have {limits.MAX_PIXELS:,} pixels at most. Received: {error}"
        ) from None
    except Exception:  # what it is, or is not, decoding says
        return
    if width * height > limits.MAX_PIXELS or max(width, height) > limits.MAX_SIDE:
        raise ImageError(
            f"{name} must have {limits.MAX_PIXELS:,} pixels, and {limits.MAX_SIDE:,} a side, at most. "
            f"Received: {width} x {height}"
        )


def read(image, reader, boxes=None):
    """What a classifier says of an image, as `keras-fracture predict` would.

    Args:
        image: uint8 `(height, width)`.
        reader: `shelf.Reader`.
        boxes: As in `Reading`.

    Returns:
        A `Reading`.
    """
    from keras_fracture.inference import heat  # with it come image libraries and networks

    classifier, finding = reader.classifier, reader.finding
    data = decoding.encode_png(image)  # of a DICOM file no more than its pixels
    probability = float(of_finding(classifier.predict([data]), finding)[0])
    shown, occlusion = heat.occlusion_effect(classifier.predict, data, finding, side=_SIDE)
    _, square = heat.gradcam_effect(reader.network, classifier, data, finding)
    shape = shown.shape[:2]
    seen = 255 - image if classifier.inverts else image
    return Reading(
        shown[..., 0],
        probability,
        classifier.threshold,
        classifier.chosen,
        unfitted(square, shape, classifier.crops),
        occlusion,
        levels.looks_inverted(seen),
        boxes,
    )


def unfitted(square, shape, crop):
    """Heat over what a network was shown, laid over the image that this was made of.

    Args:
        square: float32 `(size, size)`: over the image fitted and padded, or resized and cropped.
        shape: Height and width of the image.
        crop: Whether it was cropped.

    Returns:
        float32 `shape`; 0 where the network saw nothing.
    """
    height, width = shape
    side = min(shape) if crop else max(shape)
    large = np.asarray(Image.fromarray(np.float32(square)).resize((side, side), Image.Resampling.BILINEAR))
    top, left = abs(side - height) // 2, abs(side - width) // 2
    if not crop:
        return large[top : top + height, left : left + width]
    heat = np.zeros(shape, np.float32)
    heat[top : top + side, left : left + side] = large
    return heat


def verdict(reading):
    """The answer in a sentence."""
    said = "A finding" if reading.finding else "No finding"
    side = "reaches" if reading.finding else "stays below"
    how = f" ({reading.chosen})" if reading.chosen else ""
    return (
        f"{said}: the probability {reading.probability:.3f} {side} the model's threshold "
        f"{reading.threshold:.3f}{how}."
    )


def page(reading, reader):
    """A `Reading` as HTML."""
    sure = "Finding" if reading.finding else "No finding"
    parts = [f'<p class="kf-verdict">{sure}</p>', showing.bar(reading.probability, reading.threshold)]
    parts.append(f"<p>{showing.words(verdict(reading))} The orange mark is the threshold.</p>")
    parts.append(showing.note(NOT_CLINICAL, "warning"))
    if reading.inverted:
        parts.append(
            showing.note(
                "This image looks inverted: its corners are brighter than its middle. Models take bones to be "
                "bright; turn black and white first."
            )
        )
    if reader.data:
        learnt = f"{showing.words(reader.name)} learnt from the data set {showing.words(reader.data)}"
        other = reading.boxes is not None and reader.data != "phantom"
        parts.append(f"<p>{learnt}{'; it was never trained on phantoms' if other else ''}.</p>")
    return "".join(parts) + _explained(reading)


def _explained(reading):
    """Both explanations side by side, with one scale."""
    effects = [np.where(each < answers.FLOOR, 0, each) for each in (reading.gradcam, reading.occlusion)]
    top = max(answers.BRIGHTEST, *(float(each.max()) for each in effects))
    boxes = [] if reading.boxes is None else reading.boxes
    images = [
        reading.image,
        *(heated(reading.image[None, ..., None], each[None] / top)[0] for each in effects),
    ]
    captions = [
        f"<b>The image</b>{'. Blue box: where the finding was drawn' if len(boxes) else ''}",
        "<b>Grad-CAM</b>: where the network's last maps speak for a finding",
        "<b>Occlusion</b>: where greying a square out lowers the probability",
    ]
    for number, effect in enumerate(effects, 1):
        captions[number] += "" if effect.any() else ". <b>No evidence of a finding</b>"
    figures = [
        showing.figure(showing.outlined(image, boxes), caption, alt)
        for image, caption, alt in zip(images, captions, ("the image", "Grad-CAM", "occlusion"), strict=True)
    ]
    return showing.grid(figures, 3, 2, "kf-heat") + (
        '<p class="kf-label">Effect on the probability, one scale for both</p>'
        f'<div class="kf-scale" style="background: {answers.gradient(top)}"></div>'
        f'<div class="kf-ticks"><span>0, no colour below {answers.FLOOR:g}</span><span>{top:.2f}</span></div>'
    )


def answer(shelf, model, picked, uploaded, name="the file"):
    """What the tab shows for an upload, or where there is none for a phantom, as HTML."""
    if uploaded is None:
        record = phantoms.drawn(phantoms.choices()[picked])
        image, boxes = record["image"][..., 0], record["boxes"]
    else:
        image, boxes = checked(uploaded, name), None
    reader = shelf.reader(model)
    return page(read(image, reader, boxes), reader)


def tab(gr, shelf):
    """Puts the tab onto the page."""
    if not shelf.classifiers:
        gr.HTML(
            showing.note(
                "No classifier is here: <code>keras-fracture reproduce lisbon_resnet</code> trains one, and "
                "<code>--models</code> names those of <code>keras-fracture models list</code>."
            ),
            elem_classes="kf-out",
        )
        return
    gr.Markdown("Upload an X-ray, or pick a phantom (drawn by code). Nothing leaves this machine.")
    with gr.Row():
        with gr.Column(scale=1, min_width=310):
            uploaded = gr.File(
                label="JPEG, PNG or DICOM file", type="filepath", height=170, elem_id="kf-upload"
            )
            picked = gr.Dropdown(list(phantoms.choices()), value=phantoms.SHOWN_FIRST, label="or a phantom")
            model = gr.Dropdown(shelf.classifiers, label="Model")
            button = gr.Button("Read", variant="primary")
        with gr.Column(scale=3, min_width=300):
            shown = gr.HTML(elem_id="kf-reading", elem_classes="kf-out")

    def show(model, picked, path):
        return showing.safely(lambda: answer(shelf, model, picked, *_content(path)))

    asked = {"fn": show, "inputs": [model, picked, uploaded], "outputs": shown}
    button.click(**asked)
    uploaded.upload(**asked)
    picked.input(lambda: None, outputs=uploaded).then(**asked)


def _content(path):
    """Bytes and name of an upload; None where there is none."""
    if path is None:
        return (None,)
    return limits.read(path), Path(path).name
