"""The tab *Draw X-rays*: what a generator makes of noise, what lies between two images, and what they are like."""

import dataclasses
import functools

import numpy as np

from keras_fracture.data import phantom
from keras_fracture.demo import phantoms, showing
from keras_fracture.errors import ModelError
from keras_fracture.evaluation.memorisation import Copies

STEPS = 7  # images of the strip, from one seed to the other
# Numbers of sources: those of the data set `phantom`, and some it does not have.
_TRAIN, _OTHERS = (0, phantom.SOURCES), (phantom.SOURCES, phantom.SOURCES + 64)
_AT_ONCE = 64  # always, as `inference.generate` does: other numbers would round a few grey levels otherwise


@dataclasses.dataclass(frozen=True)
class Nearest:
    """The phantom nearest to an image.

    Attributes:
        image: uint8 `(size, size, 1)`.
        distance: Root mean square difference of grey levels, 0 to 1, of it or its mirror image.
        limit: Up to which distance an image counts as a near copy: one percent of phantoms come so near to one of
            another limb.
        searched: How many phantoms were held against it.
    """

    image: np.ndarray
    distance: float
    limit: float
    searched: int


def noise(source, seed, truncation=1.0):
    """The noise of a seed, float32 `(latent_dim,)`, drawn towards its mean.

    Args:
        source: `inference.generating.Source`.
        seed: Not negative; at truncation 1 it is what `keras-fracture generate --seed` draws first.
        truncation: 0 to 1: what the noise is multiplied by. The smaller, the more typical and alike the images.
    """
    drawn = np.random.default_rng(int(seed)).standard_normal((1, source.latent_dim), "float32")[0]
    return drawn * np.float32(truncation)


def between(start, stop, share):
    """Noise at a share of the way from one to another, along a great circle: midway is as long as the ends."""
    lengths = np.linalg.norm(start), np.linalg.norm(stop)
    if min(lengths) < 1e-6:
        return (1 - share) * start + share * stop
    angle = np.arccos(np.clip(np.dot(start / lengths[0], stop / lengths[1]), -1, 1))
    if angle < 1e-4:
        return (1 - share) * start + share * stop
    weights = np.sin((1 - share) * angle) / np.sin(angle), np.sin(share * angle) / np.sin(angle)
    return np.float32(weights[0] * start + weights[1] * stop)


def draw(source, noises, label=None):
    """Images of noise, grey.

    Args:
        source: `inference.generating.Source`.
        noises: float32 `(n, latent_dim)`.
        label: Class by name or number, of a generator that knows classes; None takes the first.

    Returns:
        uint8 `(n, size, size, 1)`.

    Raises:
        ModelError: There is no such class.
    """
    from keras_fracture.models.preprocessing import unscale  # with it comes Keras's room of networks

    number = source.label(label) or 0
    made = []
    for start in range(0, len(noises), _AT_ONCE):
        some = np.float32(noises[start : start + _AT_ONCE])
        filled = some[np.resize(np.arange(len(some)), _AT_ONCE)]
        given = (filled, np.full(_AT_ONCE, number, "int32")) if source.num_classes else (filled,)
        images = unscale(np.asarray(source.draw(*given)), source.pixel_range)[: len(some)]
        made.append(np.rint(images.mean(-1, keepdims=True)).astype("uint8"))
    return np.concatenate(made)


def nearest(image, train=_TRAIN, others=_OTHERS):
    """The phantom nearest to an image, as a `Nearest`, and how near phantoms come to each other.

    Args:
        image: uint8 `(size, size, 1)`.
        train: First number, and that after the last, of the sources whose images are searched.
        others: The same of sources that only help to say what is near.
    """
    known = phantoms.images(len(image), *train)[0]
    found = _copies(len(image), train, others).by_pixels(image[None])
    return Nearest(known[found.indices[0]], float(found.distances[0]), found.threshold, len(known))


@functools.lru_cache(maxsize=4)
def _copies(size, train, others):
    known, held_out = (phantoms.images(size, *each) for each in (train, others))
    return Copies(known[0], held_out[0], train_sources=known[2], held_out_sources=held_out[2])


def page(shelf, model, label, seeds, truncation, share):
    """What the tab shows: both ends, what lies between them, and the strip from one to the other, as HTML."""
    source = shelf.generator(model)
    ends = [noise(source, seed, truncation) for seed in seeds]
    shares = [0, share, 1, *np.linspace(0, 1, STEPS)]
    images = draw(source, [between(*ends, one) for one in shares], label)
    captions = [
        f"<b>Seed {int(seeds[0])}</b>",
        f"<b>{100 * share:.0f} % of the way</b>",
        f"<b>Seed {int(seeds[1])}</b>",
    ]
    large = [
        showing.figure(image, caption, "a generated image")
        for image, caption in zip(images, captions, strict=False)
    ]
    steps = [
        showing.figure(image, f"{100 * one:.0f} %", "a generated image on the way")
        for image, one in zip(images[3:], shares[3:], strict=True)
    ]
    data = shelf.data(model)
    learnt = f" It learnt from the data set {showing.words(data)}." if data else ""
    if data != "phantom":
        learnt += " A generator can give training images back: its model card says how often."
    note = f"Every image here was drawn by {showing.words(model)} from noise.{learnt}"
    return showing.grid(large, 3, 3) + showing.grid(steps, STEPS, STEPS, "kf-strip") + showing.note(note)


def nearest_page(shelf, model, label, seeds, truncation, share):
    """The image in the middle beside the phantom nearest to it, as HTML."""
    source = shelf.generator(model)
    ends = [noise(source, seed, truncation) for seed in seeds]
    image = draw(source, between(*ends, share)[None], label)[0]
    found = nearest(image)
    near = found.distance <= found.limit
    said = "so near that it counts as a copy" if near else "no copy"
    kind = "phantom to learn from" if shelf.data(model) == "phantom" else "phantom"
    figures = (
        showing.figure(image, f"<b>Generated</b>, {100 * share:.0f} % of the way", "a generated image"),
        showing.figure(found.image, f"<b>Nearest {kind}</b> of {found.searched:,}", "the nearest phantom"),
    )
    text = (
        f"They differ by {found.distance:.3f} (root mean square of grey levels from 0 to 1): {said}. One in a hundred "
        f"phantoms comes as near as {found.limit:.3f} to a phantom of another limb."
    )
    if kind == "phantom":
        text += (
            " This generator did not learn from phantoms but from "
            f"{showing.words(shelf.data(model) or 'other images')}, whose X-rays this page does "
            "not show: the measured share of copies stands in its model card."
        )
    return showing.grid(figures, 3, 2) + showing.note(text)


def tab(gr, shelf):
    """Puts the tab onto the page."""
    if not shelf.generators:
        gr.HTML(
            showing.note("No generator is here: <code>keras-fracture reproduce bai_dcgan</code> trains one."),
            elem_classes="kf-out",
        )
        return
    gr.Markdown(
        "A generator turns noise into an image. Move from one seed to another, and watch what changes."
    )
    with gr.Row():
        with gr.Column(scale=1, min_width=290):
            model = gr.Dropdown(shelf.generators, label="Generator")
            label = gr.Dropdown(shelf.classes(model.value), label="Class", interactive=True)
            with gr.Row():
                first = gr.Number(1, label="Seed", precision=0, minimum=0, min_width=100)
                second = gr.Number(2, label="Other seed", precision=0, minimum=0, min_width=100)
            truncation = gr.Slider(0, 1, 0.8, step=0.05, label="Truncation: low is typical, high is varied")
            share = gr.Slider(0, 1, 0.5, step=0.05, label="On the way from seed to other seed")
            button = gr.Button("Draw", variant="primary")
            search = gr.Button("Find the nearest phantom")
        with gr.Column(scale=3, min_width=300):
            shown = gr.HTML(elem_id="kf-drawing", elem_classes="kf-out")
            near = gr.HTML(elem_id="kf-nearest", elem_classes="kf-out")
    inputs = [model, label, first, second, truncation, share]

    def asked(page_):
        def show(model, label, first, second, *others):
            return showing.safely(lambda: page_(shelf, model, label, _seeds(first, second), *others))

        return show

    drawn = {"fn": asked(page), "inputs": inputs, "outputs": shown}
    button.click(**drawn).then(lambda: "", outputs=near)
    for slider in (truncation, share):
        slider.release(**drawn)
    search.click(asked(nearest_page), inputs, near)
    model.input(
        lambda name: gr.Dropdown(shelf.classes(name), value=next(iter(shelf.classes(name)), None)),
        model,
        label,
    )


def _seeds(*seeds):
    if any(seed is None or seed < 0 for seed in seeds):
        raise ModelError(f"Seeds are whole numbers from 0. Received: {', '.join(map(str, seeds))}")
    return seeds
