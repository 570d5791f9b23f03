"""The tab *Would you have been fooled?*: real or generated, ten rounds, then what a discriminator says of them."""

import dataclasses
import functools

import numpy as np
from skimage.feature import hog
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from keras_fracture.demo import drawing, phantoms, showing

ROUNDS = 10
_GAMES = (0, 400)  # numbers of the sources that games show
_LESSONS = (400, 576)  # of those that the discriminator learns from
_FIRST_LESSON = 2**20  # of its generated images' seeds; games have those below
_CLASSES = ("Real", "Generated")


@dataclasses.dataclass(frozen=True)
class Game:
    """Ten images.

    Attributes:
        images: uint8 `(10, size, size, 1)`.
        generated: bool `(10,)`; five are.
    """

    images: np.ndarray
    generated: np.ndarray


def deal(source, size, seed):
    """The images of a game.

    Args:
        source: `inference.generating.Source`.
        size: Side of its images in pixels.
        seed: Of the game, not negative; another seed is another game.

    Returns:
        A `Game`: five phantoms, drawn by code and shrunk to the generator's size, and five of its images.
    """
    rng = np.random.default_rng([int(seed), 7])
    real = phantoms.some(size, rng.integers(*_GAMES, ROUNDS // 2))
    made = _generated(source, int(seed) * ROUNDS % _FIRST_LESSON, ROUNDS // 2)
    order = rng.permutation(ROUNDS)
    return Game(np.concatenate([real, made])[order], np.repeat([False, True], ROUNDS // 2)[order])


def _generated(source, first, count):
    """Images of as many seeds, of all classes in turn."""
    classes = source.num_classes or 1
    noises = np.stack([drawing.noise(source, first + number) for number in range(count)])
    images = [
        drawing.draw(source, noises[number::classes], number if source.num_classes else None)
        for number in range(min(classes, count))
    ]
    return np.concatenate(images)


def discriminator(source, size, lessons=_LESSONS):
    """Learns to tell phantoms from a generator's images: gradients (HOG) and logistic regression, in seconds.

    Args:
        source: `inference.generating.Source`.
        size: Side of its images in pixels.
        lessons: First number, and that after the last, of the sources it learns from; games show others.

    Returns:
        A function of uint8 images `(n, size, size, 1)` to the probabilities that they are generated, `(n,)`.
    """
    real = phantoms.images(size, *lessons, 1)[0]
    images = np.concatenate([real, _generated(source, _FIRST_LESSON, len(real))])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    model.fit(gradients(images), np.repeat([0, 1], len(real)))
    return lambda images: model.predict_proba(gradients(images))[:, 1]


def gradients(images):
    """Histograms of oriented gradients of uint8 images `(n, size, size, 1)`, float `(n, d)`."""
    cell = max(images.shape[1] // 8, 1)
    return np.stack([hog(image[..., 0], 9, (cell, cell), (2, 2)) for image in images])


class Table:
    """Where games are played: deals each one once, and teaches a discriminator once a generator.

    Args:
        shelf: `shelf.Shelf`.
        lessons: As in `discriminator`.
    """

    def __init__(self, shelf, lessons=_LESSONS):
        self._shelf, self._lessons = shelf, lessons
        self.game = functools.lru_cache(maxsize=64)(self._game)
        self.judge = functools.cache(self._judge)

    def _game(self, model, seed):
        return deal(self._shelf.generator(model), self._shelf.side(model), seed)

    def _judge(self, model):
        return discriminator(self._shelf.generator(model), self._shelf.side(model), self._lessons)

    def page(self, model, seed, answers):
        """What the tab shows after some answers (True is "generated"), as HTML."""
        game, number = self.game(model, seed), len(answers)
        score = int(np.sum(game.generated[:number] == answers))
        if number == ROUNDS:
            return self._end(model, game, np.array(answers), score)
        parts = [f'<p class="kf-verdict">Image {number + 1} of {ROUNDS}</p>']
        if number:
            right = game.generated[number - 1] == answers[-1]
            was = _CLASSES[int(game.generated[number - 1])].lower()
            parts.append(
                f"<p>{'Right' if right else 'Wrong'}: the last one was {was}. Score {score} of {number}.</p>"
            )
        image = showing.figure(
            game.images[number], "Drawn by code, or by the generator?", "real or generated"
        )
        return "".join(parts) + showing.grid([image], 2, 1)

    def _end(self, model, game, answers, score):
        said = self.judge(model)(game.images)
        theirs = (said >= 0.5) == game.generated
        figures = []
        for image, truth, answer, one in zip(game.images, game.generated, answers, said, strict=True):
            you, it = (_CLASSES[int(each)].lower() for each in (answer, one >= 0.5))
            mark = "kf-right" if answer == truth else "kf-wrong"
            was = _CLASSES[int(truth)]
            you += "" if answer == truth else " (wrong)"
            caption = f"<b>{was}</b><br>you: {you}<br>discriminator: {it}"
            figures.append(showing.figure(image, caption, was, mark))
        data = self._shelf.data(model)
        taught = self._lessons[1] - self._lessons[0]
        note = (
            f"Five right is what guessing gets. The discriminator learnt from {taught} other phantoms and as many "
            "other generated images: gradients (HOG) and logistic regression, a second or two."
        )
        if data != "phantom":
            note += (
                f" This generator learnt from {showing.words(data or 'other images')}, not from phantoms: "
                "style alone gives it away. One that learnt from phantoms makes a fairer game."
            )
        return (
            f'<p class="kf-verdict">You: {score} of {ROUNDS}. The discriminator: {int(theirs.sum())} of {ROUNDS}</p>'
            f"{showing.grid(figures, 5, 2)}{showing.note(note)}"
        )


def tab(gr, shelf):
    """Puts the tab onto the page."""
    if not shelf.generators:
        gr.HTML(
            showing.note("No generator is here: <code>keras-fracture reproduce bai_dcgan</code> trains one."),
            elem_classes="kf-out",
        )
        return
    table = Table(shelf)
    gr.Markdown(
        "**Real** is a phantom, drawn by code, shrunk to the generator's size. **Generated** is what a generator "
        "made of noise. Ten rounds."
    )
    answers = gr.State([])
    with gr.Row():
        with gr.Column(scale=1, min_width=290):
            model = gr.Dropdown(shelf.generators, label="Generator")
            seed = gr.Number(1, label="Game number", precision=0, minimum=0)
            start = gr.Button("Start", variant="primary")
        with gr.Column(scale=3, min_width=300):
            shown = gr.HTML(elem_id="kf-game", elem_classes="kf-out")
            with gr.Row():
                choices = [gr.Button(name, visible=False, min_width=120) for name in _CLASSES]

    def show(model, seed, given):
        on = len(given) < ROUNDS
        return (
            given,
            showing.safely(table.page, model, seed, given),
            *[gr.Button(visible=on) for _ in choices],
        )

    outputs = [answers, shown, *choices]
    start.click(lambda model, seed: show(model, seed or 0, []), [model, seed], outputs)
    for number, choice in enumerate(choices):
        choice.click(
            lambda model, seed, given, said=bool(number): show(model, seed or 0, [*given, said][:ROUNDS]),
            [model, seed, answers],
            outputs,
        )
    for setting in (model, seed):  # another game: begin anew
        setting.input(lambda: ([], "", *[gr.Button(visible=False) for _ in choices]), outputs=outputs)
