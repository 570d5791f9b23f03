"""The tab *Paint a lesion*: a window of a healthy phantom, translated by UNIT and blended back."""

import dataclasses
import functools

import numpy as np

from keras_fracture import synthesis
from keras_fracture.data import phantom, phantom_findings
from keras_fracture.demo import phantoms, showing
from keras_fracture.report import answers
from keras_fracture.report.figures import heated

SIDE = 128  # pixels of a phantom here: windows then have about as many as translators take
COPY_PASTE = "copy and paste (no network)"
_PATCH = 64  # pixels of the patches that are pasted
_RANKS = 20  # lesions to choose from
_MISSING = (
    "No trained UNIT is here, so lesions are copied from other phantoms, the paper's baseline. To have one, name it "
    "among the page's models: <code>keras-fracture demo --models unit_phantom dcgan_phantom resnet18_fracatlas</code> "
    "fetches what is missing."
)
_FLOOR = 4  # grey levels; smaller differences are not coloured
_BRIGHTEST = 64


@dataclasses.dataclass(frozen=True)
class Painted:
    """An image on its way.

    Attributes:
        original: uint8 `(side, side, 1)`.
        translated: The same with the window as the translator made it, hard edges and all.
        blended: The same with it blended in.
        window: Top, left, height, width in pixels.
    """

    original: np.ndarray
    translated: np.ndarray
    blended: np.ndarray
    window: tuple

    @property
    def box(self):
        """The window as ymin, xmin, ymax, xmax, fractions."""
        top, left, height, width = self.window
        return np.array([top, left, top + height, left + width]) / len(self.original)

    @property
    def difference(self):
        """By how many grey levels the blended image differs from the original, float32 `(side, side)`."""
        return np.abs(np.float32(self.blended) - self.original)[..., 0]


def window(across, down, share, side=SIDE):
    """A square window that lies in an image.

    Args:
        across: Of its centre, a fraction of the width.
        down: Of its centre, a fraction of the height.
        share: Its side as a fraction of the image's; a window over the edge is slid inwards.
        side: Of the image in pixels.

    Returns:
        Top, left, height, width in pixels.
    """
    length = int(np.clip(round(share * side), 8, side))
    top, left = (int(np.clip(round(place * side - length / 2), 0, side - length)) for place in (down, across))
    return top, left, length, length


def paint(image, place, painter, exponent):
    """Paints a lesion into a window of an image.

    Args:
        image: uint8 `(side, side, 1)`.
        place: Of `window`.
        painter: A function of uint8 patches `(1, size, size, 1)` to such, and `size`.
        exponent: Of the blending, see `synthesis.weights`.

    Returns:
        A `Painted`.

    Raises:
        SynthesisError: The exponent is not positive.
    """
    translate, size = painter
    (blended,), (patch,) = synthesis.paint(image[None], [place], translate, exponent, size)
    top, left, height, width = place
    hard = image.copy()
    hard[top : top + height, left : left + width] = synthesis.cut(patch, (0, 0, size, size), height)
    return Painted(image, hard, blended, place)


def copying(rank):
    """The baseline without a network: a patch becomes one round another phantom's lesion.

    Args:
        rank: 0 takes the lesion whose surroundings fit the patch's border best, 1 the next one, and so on.

    Returns:
        A painter, see `paint`.
    """

    def translate(patches):
        lesions, border = _lesions(), 1 - synthesis.weights(_PATCH, _PATCH, 1.0)[..., None]
        apart = [(np.abs(np.float32(lesions) - patch) * border).mean((1, 2, 3)) for patch in patches]
        return lesions[[np.argsort(each, kind="stable")[rank] for each in apart]]

    return translate, _PATCH


@functools.cache
def _lesions():
    """Patches round the lesions of phantoms, and their mirror images, uint8 `(n, size, size, 1)`."""
    lenders = [one for one in phantom.plan(phantoms.SEED) if one.finding in phantom_findings.LESIONS]
    records = [record for one in lenders if len((record := phantoms.drawn(one, SIDE))["boxes"])]
    patches = synthesis.lesion_patches(
        np.stack([record["image"] for record in records]),
        [record["boxes"] for record in records],
        [record["body_part"] for record in records],
        _PATCH,
        4 * len(records),
        phantoms.SEED,
    ).images
    return np.concatenate([patches, patches[:, :, ::-1]])


def marked(picked, place):
    """A phantom with the window drawn in, uint8 RGB; for choosing it."""
    image = phantoms.drawn(phantoms.healthy()[picked], SIDE)["image"]
    return showing.outlined(image, [Painted(image, image, image, place).box])


def page(shelf, model, picked, place, exponent, rank):
    """What the tab shows, as HTML."""
    image = phantoms.drawn(phantoms.healthy()[picked], SIDE)["image"]
    painter = copying(int(rank) - 1) if model == COPY_PASTE else shelf.painter(model)
    painted = paint(image, place, painter, float(exponent))
    changed = painted.difference
    top = max(_BRIGHTEST, float(changed.max()))
    changed = np.where(changed < _FLOOR, 0, changed)
    images = (
        ("Original", painted.original),
        ("Translated", painted.translated),
        ("Blended", painted.blended),
        ("Difference", heated(painted.original[None], changed[None] / top)[0]),
    )
    told = (
        "healthy, drawn by code",
        "the window as it was made",
        f"faded in by the exponent {exponent:g}",
        "original to blended",
    )
    figures = [
        showing.figure(showing.outlined(each, [painted.box]), f"<b>{name}</b>: {what}", name.lower())
        for (name, each), what in zip(images, told, strict=True)
    ]
    row, column, height, width = place
    inside = np.s_[row : row + height, column : column + width]
    close = [showing.figure(each[inside], name, f"{name.lower()}, close up") for name, each in images[:3]]
    scale = (
        '<p class="kf-label">Difference in grey levels of 255</p>'
        f'<div class="kf-scale" style="background: {answers.gradient(top, _FLOOR)}"></div>'
        f'<div class="kf-ticks"><span>0, no colour below {_FLOOR}</span><span>{top:.0f}</span></div>'
    )
    return (
        showing.grid(figures, 4, 2) + scale + '<p class="kf-label">Close up</p>' + showing.grid(close, 4, 3)
    )


def tab(gr, shelf):
    """Puts the tab onto the page."""
    gr.Markdown(
        "Tap the phantom where the lesion is to be. The window is translated to one with a lesion, "
        "and blending hides its edge."
    )
    if not shelf.painters:
        gr.HTML(showing.note(_MISSING), elem_classes="kf-out")
    names, start = list(phantoms.healthy()), (0.5, 0.45, 0.35)
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            picked = gr.Dropdown(names, value=names[1], label="Healthy phantom")
            image = gr.Image(
                marked(names[1], window(*start)), show_label=False, interactive=False, buttons=[],
                elem_id="kf-place",
            )  # fmt: skip
            across = gr.Slider(0, 1, start[0], step=0.01, label="Across")
            down = gr.Slider(0, 1, start[1], step=0.01, label="Down")
            share = gr.Slider(0.15, 0.7, start[2], step=0.01, label="Side of the window")
        with gr.Column(scale=2, min_width=300):
            model = gr.Dropdown([*shelf.painters, COPY_PASTE], label="Painter")
            with gr.Row():
                exponent = gr.Slider(
                    0.5, 8, 2, step=0.5, label="Exponent: high keeps more of the patch, and its edge"
                )
                rank = gr.Slider(
                    1, _RANKS, 1, step=1, label="Lesion to copy: 1 fits best", visible=not shelf.painters
                )
            button = gr.Button("Paint", variant="primary")
            shown = gr.HTML(elem_id="kf-painting", elem_classes="kf-out")
    places = [across, down, share]

    def move(picked, *place):
        return marked(picked, window(*place))

    def show(model, picked, exponent, rank, *place):
        return showing.safely(page, shelf, model, picked, window(*place), exponent, rank)

    painted = {"fn": show, "inputs": [model, picked, exponent, rank, *places], "outputs": shown}
    moved = {"fn": move, "inputs": [picked, *places], "outputs": image}

    def tapped(event: gr.SelectData):
        left, top = event.index
        side = len(marked(names[0], window(*start)))
        return round(left / side, 2), round(top / side, 2)

    image.select(tapped, None, [across, down]).then(**moved).then(**painted)
    picked.input(**moved).then(**painted)
    for slider in places:
        slider.release(**moved)
    for slider in (exponent, rank):
        slider.release(**painted)
    model.input(lambda name: gr.Slider(visible=name == COPY_PASTE), model, rank).then(**painted)
    button.click(**painted)
