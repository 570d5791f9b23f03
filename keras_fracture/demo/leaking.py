"""The tab *Is the number real?*: copies of X-rays on both sides of a split, and what they do to an accuracy.

Nothing here is stored: every number is trained for and measured when it is asked for.
"""

import dataclasses
import functools
import io

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from keras_fracture.demo import phantoms, showing
from keras_fracture.demo.fooling import gradients
from keras_fracture.evaluation import Predictions, scores
from keras_fracture.report.style import COLOURS, styled, subplots

SIZE = 64  # pixels
MODELS = {
    "nearest neighbour": lambda: KNeighborsClassifier(1),
    "HOG and logistic regression": lambda: make_pipeline(
        StandardScaler(), LogisticRegression(C=0.001, max_iter=500)
    ),
}
_LIMBS, _COPIES, _NEW = 60, 10, 100  # half of the limbs are tested on; of each new one there is one image
_SEED = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Files:
    """What the Kaggle set is like: some limbs, one image of each, and many copies of that, turned a little.

    Attributes:
        images: uint8 `(n, size, size, 1)`, the copies of a limb behind each other.
        gradients: float `(n, d)`, what models see of them.
        labels: int `(n,)`.
        limbs: int `(n,)`.
        new: `gradients` and `labels` of limbs that none of the files show, one image each.
        copies: How many of each limb.
    """

    images: np.ndarray
    gradients: np.ndarray
    labels: np.ndarray
    limbs: np.ndarray
    new: tuple
    copies: int


@dataclasses.dataclass(frozen=True)
class Measured:
    """One model, trained with some copies on both sides.

    Attributes:
        by_file: Accuracy on the test files, as if each were a case: a dict of `value`, `low`, `high`.
        by_source: Accuracy of the same model on limbs it has never seen, the same.
        tested: Some test files, int `(k,)`.
        nearest: The training file nearest to each, int `(k,)`.
    """

    by_file: dict
    by_source: dict
    tested: np.ndarray
    nearest: np.ndarray


@functools.cache
def files(limbs=_LIMBS, copies=_COPIES, new=_NEW):
    """Makes `Files` of phantoms, at the first use."""
    from keras_fracture.data import Augmentation
    from keras_fracture.models.preprocessing import UNIT, scale, unscale

    images, labels, _ = phantoms.images(SIZE, 0, limbs, 1)
    turn = Augmentation(flip=None, rotation=0.02, zoom=0.05, shift=0.03, contrast=0.1, seed=_SEED)
    repeated = images.repeat(copies, axis=0)
    turned = unscale(turn(scale(repeated, UNIT), range(len(repeated))), UNIT)
    others, other_labels, _ = phantoms.images(SIZE, limbs, limbs + new, 1)
    return Files(
        turned, gradients(turned), labels.repeat(copies), np.arange(limbs).repeat(copies),
        (gradients(others), other_labels), copies,
    )  # fmt: skip


def split(made, share):
    """Which files are trained on, and which are tested on.

    Half of the limbs are tested on, with half of their copies. Of a share of them the other half is trained on, in
    place of as many files of limbs that are trained on alone: so there are as many files at any share.

    Args:
        made: `Files`.
        share: 0 to 1.

    Returns:
        Two int arrays of places in `made`.
    """
    rng = np.random.default_rng(_SEED)
    order = np.concatenate(
        [2 * pair + rng.permutation(2) for pair in rng.permutation(made.limbs[-1] // 2 + 1)]
    )
    half = len(order) // 4 * 2  # of whole pairs: as many with a finding on either side
    tested, taught = order[:half], order[half:]
    later = np.arange(len(made.limbs)) % made.copies >= made.copies // 2
    test = np.flatnonzero(np.isin(made.limbs, tested) & later)
    leaked = np.flatnonzero(np.isin(made.limbs, tested[: round(share * half)]) & ~later)
    own = np.flatnonzero(np.isin(made.limbs, taught))
    kept = rng.permutation(own)[: len(own) - len(leaked)]
    return np.sort(np.concatenate([kept, leaked])), test


@functools.lru_cache(maxsize=64)
def measure(model, share, made=None):
    """Trains with a share of the tested limbs on both sides, and tests by file and by limb; returns `Measured`.

    Args:
        model: One of `MODELS`.
        share: 0 to 1.
        made: `Files`; default is `files()`.
    """
    made = made or files()
    train, test = split(made, share)
    learner = MODELS[model]().fit(made.gradients[train], made.labels[train])
    new, new_labels = made.new
    by_file = _accuracy(learner, made.gradients[test], made.labels[test])
    neighbours = KNeighborsClassifier(1).fit(made.gradients[train], made.labels[train])
    shown = test[:: len(test) // 3][:3]
    places = neighbours.kneighbors(made.gradients[shown], return_distance=False)[:, 0]
    return Measured(by_file, _accuracy(learner, new, new_labels), shown, train[places])


def _accuracy(learner, rows, labels):
    """Accuracy with its interval; each row counts as a case of its own."""
    cases = np.arange(len(labels)).astype(str)
    said = learner.predict_proba(rows)[:, 1]
    return scores(Predictions(labels, cases, said[None]), ("accuracy",))["accuracy"]


@styled
def diagram(visited):
    """Accuracies against the share of copies on both sides, the bytes of a PNG.

    Args:
        visited: Dict of share to `Measured`.
    """
    figure, axis = subplots(figsize=(4.6, 3.1))
    shares = sorted(visited)
    for number, (name, label) in enumerate((("by_file", "by file"), ("by_source", "by source"))):
        found = [getattr(visited[share], name) for share in shares]
        values, low, high = ([one[key] for one in found] for key in ("value", "low", "high"))
        spread = np.abs(np.array([low, high]) - values)
        style = {"marker": "os"[number], "color": COLOURS[number], "capsize": 3, "ls": ("-", "--")[number]}
        axis.errorbar(100 * np.array(shares) + (-0.8, 0.8)[number], values, spread, label=label, **style)
    axis.axhline(0.5, color="grey", lw=1, ls=":", label="chance")
    axis.set(
        xlim=(-4, 104), ylim=(0.3, 1.03), xlabel="tested limbs with copies in training, %", ylabel="accuracy"
    )
    axis.legend(loc="upper left", fontsize=9)
    axis.set_title("What was measured so far", fontsize=10)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    return stream.getvalue()


def page(model, share, visited, made=None):
    """What the tab shows, as HTML; `visited` are the shares of this model that were measured before."""
    made = made or files()
    found = measure(model, share, made)
    parts = [f'<p class="kf-verdict">{100 * share:.0f} % of the tested limbs have copies in training</p>']
    rows = (
        ("By file", found.by_file, "the test files, as they were split"),
        ("By source", found.by_source, "the same model on limbs it has never seen"),
    )
    for name, score, what in rows:
        interval = f"{score['low']:.2f} to {score['high']:.2f}"
        parts.append(
            f"<p class='kf-label'><b>{name}: accuracy {score['value']:.2f}</b> ({interval}): {what}</p>"
            f"{showing.bar(score['value'], 0.5)}"
        )
    said = _what_it_says(share, found.by_file, found.by_source)
    parts.append(
        showing.note(
            f"{said} The orange mark is chance. Brackets hold 95 % intervals; by file they take copies "
            "for cases."
        )
    )
    alt = "accuracy by file rises with the share of copies, by source it does not"
    parts.append(showing.chart(diagram({one: measure(model, one, made) for one in {*visited, share}}), alt))
    return "".join(parts) + _neighbours(found, made)


def _what_it_says(share, by_file, by_source):
    """In one sentence, no more than the intervals bear."""
    if not share:
        return "No tested limb has a copy in training: the two numbers differ by chance alone."
    if by_file["low"] > by_source["high"]:
        gap = by_file["value"] - by_source["value"]
        return f"By file the number promises {100 * gap:.0f} points more than it keeps."
    return "The intervals overlap: from so few limbs no difference can be told."


def _neighbours(found, made):
    """Some test files, each beside the training file nearest to it."""
    figures = []
    for test, train in zip(found.tested, found.nearest, strict=True):
        same = made.limbs[test] == made.limbs[train]
        right = made.labels[test] == made.labels[train]
        figures.append(showing.figure(made.images[test], "<b>Test file</b>", "a test file"))
        what = "a copy of the same limb" if same else f"another limb, {'same' if right else 'other'} class"
        kind = "kf-wrong" if same else ""
        figures.append(showing.figure(made.images[train], f"<b>Nearest in training</b>: {what}", what, kind))
    return "<h3>What the test files are nearest to</h3>" + showing.grid(figures, 6, 2)


def tab(gr, _):
    """Puts the tab onto the page."""
    gr.Markdown(
        f"{_LIMBS} phantoms, each copied {_COPIES} times and turned a little. Slide how many of the tested limbs "
        "also have copies in training. The model is trained anew at each position."
    )
    visited = gr.State({})
    with gr.Row():
        with gr.Column(scale=1, min_width=290):
            share = gr.Slider(0, 100, 0, step=10, label="Tested limbs with copies on both sides, %")
            model = gr.Dropdown(list(MODELS), label="Model")
            button = gr.Button("Measure", variant="primary")
        with gr.Column(scale=3, min_width=300):
            shown = gr.HTML(elem_id="kf-leak", elem_classes="kf-out")

    def show(model, share, visited):
        seen = {*visited.get(model, ()), share / 100}
        return showing.safely(page, model, share / 100, seen), visited | {model: sorted(seen)}

    asked = {"fn": show, "inputs": [model, share, visited], "outputs": [shown, visited]}
    button.click(**asked)
    share.release(**asked)
    model.input(**asked)
