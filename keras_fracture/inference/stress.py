"""Whether a classifier looks at the finding: what it loses where the images are changed and the labels kept."""

import functools

import numpy as np

from keras_fracture import evaluation
from keras_fracture.errors import EvaluationError, ModelError
from keras_fracture.evaluation import stress
from keras_fracture.evaluation.bootstrap import Clusters
from keras_fracture.inference import explaining, scoring
from keras_fracture.report.markdown import counted
from keras_fracture.serving.metadata import preparation

FILLED = ("finding hidden", "elsewhere hidden")
DOUBLED = ("finding hidden, boxes doubled", "elsewhere hidden, boxes doubled")
UNTOUCHED, PAINTED, HARDWARE = "untouched", "letters painted over", "hardware left out"
_WHOLE = {  # changes that need no boxes
    "centre hidden": stress.hide_centre,
    "only the border": stress.only_border,
    f"{stress.SIDE}-pixel low pass": stress.low_pass,
    PAINTED: lambda image: stress.fill(image, stress.markers(image)),
}
_BATCH = 16  # of the heat maps


def examine(model, records, table, which=None, seed=0):
    """Asks a classifier again about changed images: changes are done on the decoded image, before its preprocessing.

    Args:
        model: As in `scoring.evaluate`.
        records: The `data.Records` that were asked about.
        table: Of `scoring.evaluate`, of the untouched images; or some of its rows, with their index.
        which: As in `scoring.evaluate`.
        seed: Of the boxes that healthy images get, and of where boxes are moved to.

    Returns:
        A dict. `rows`: a list of dicts, `change` (its name), `images`, `findings`, `sources` (how many the rarer class
        has), `changed` (images of which a pixel is another), `auc`, maybe `within_body_part`, `difference` (AUC less
        that of the untouched images, paired), and where boxes are filled `fill_auc`: the AUC of how much the fill
        changes, alone, which should be one half; where findings are hidden also `less_elsewhere`, the AUC less that
        with as much hidden elsewhere. Scores are dicts of `value`, `low` and `high`. `pointing`: see
        `explaining.pointing`, or None. `notes`: what is left out, and why.
        `seed`.

    Raises:
        ModelError: As in `scoring.evaluate`.
        EvaluationError: As in `scoring.scores`.
    """
    asked = _Examination(model, records, table, which, seed)
    asked.add(UNTOUCHED, table, 0)
    asked.add_hidden()
    for name, change in _WHOLE.items():
        answers, amounts = asked.again(name, lambda image, _, change=change: change(image))
        asked.add(name, answers, int((amounts > 0).sum()))
    asked.add_without_hardware()
    heat, left_out = None, explaining.missing_boxes(asked.known)
    if not left_out:
        try:
            heat = explaining.pointing(model, records, table, which)
        except (EvaluationError, ModelError) as error:
            left_out = error
    if left_out:
        asked.notes.append(f"pointing game: left out, {left_out}")
    return {
        "rows": asked.rows,
        "pointing": heat,
        "notes": asked.notes,
        "seed": seed,
    }


class _Examination:
    """What is found of one classifier, row by row."""

    def __init__(self, model, records, table, which, seed):
        self.ask = functools.partial(scoring.evaluate, model, records, which=which)
        self.inverts = preparation(scoring.find(model, which)[0])[0].invert
        self.table, self.known, self.seed = table, records.table.loc[table.index], seed
        self.given = self.boxes(records)
        self.rows, self.notes = [], []

    def boxes(self, records):
        """Which boxes are hidden in which image; healthy ones get those of a finding of the same body part, if any.

        Returns:
            Positions to boxes `(k, 4)`, fractions, and how much of each is to be body; None for an image's own boxes.
        """
        known, shares = self.known, {}
        for position, image in explaining.decoded(records, explaining.with_boxes(known).index):
            boxes = stress.pixels(known["boxes"][position], image.shape)
            if len(boxes):
                shares[position] = stress.covered(stress.body(255 - image if self.inverts else image), boxes)
        given = {position: (known["boxes"][position], None) for position in shares}
        parts = known["body_part"]
        for position in known.index[known["label"] == 0] if shares else ():
            alike = [one for one in shares if parts[one] == parts[position]] or list(shares)
            donor = alike[np.random.default_rng([self.seed, position, 2]).integers(len(alike))]
            given[position] = known["boxes"][donor], shares[donor]
        return given

    def again(self, name, change):
        """Its answers to changed images; `change` is a function of an image and its position, to another or None.

        Returns:
            A table as of `scoring.evaluate`, and by how many grey levels each image differs in the mean; NaN where
            there was None.
        """
        amounts = {}

        def changed(image, position):
            image = 255 - image if self.inverts else image  # bones are bright in it, as all changes take them
            after = change(image, position)
            amounts[position] = np.nan if after is None else float(np.abs(after - image.astype(int)).mean())
            after = image if after is None else after
            return 255 - after if self.inverts else after

        answers = self.ask(change=changed, title=name).loc[self.table.index]
        return answers, np.array([amounts[position] for position in self.table.index])

    def add(self, name, answers, changed):
        """Adds a row; `answers` are those to some of the images, or all, with their index."""
        after, before = _predictions(answers), _predictions(self.table.loc[answers.index])
        row = {
            "change": name,
            "images": len(answers),
            "findings": int(after.labels.sum()),
            "sources": evaluation.least_sources(after),
            "changed": changed,
        }
        row["auc"] = evaluation.scores(after, ("auc",))["auc"]
        if inside := evaluation.within(after, answers["body_part"]):
            row["within_body_part"] = inside
        if name != UNTOUCHED:
            row["difference"] = evaluation.gains(after, before, ("auc",))["auc"]
        self.rows.append(row)

    def add_hidden(self):
        """Adds what needs boxes."""
        findings = self.table["label"] == 1
        boxed = self.table.index.isin(self.given)
        if not (boxed & findings).any():
            self.notes.append(f"{', '.join(FILLED)}: left out, no finding of these images has a box")
            return
        if missing := int((findings & ~boxed).sum()):
            self.notes.append(
                f"{', '.join(FILLED)}: without {missing} of {findings.sum()} findings, which have no box"
            )
        for names, factor in ((FILLED, 1), (DOUBLED, 2)):
            try:
                self._add_pair(names, boxed, factor)
            except EvaluationError as error:  # too few images have a box
                self.notes.append(f"{', '.join(names)}: left out, {error}")

    def _add_pair(self, names, boxed, factor):
        """Adds two rows: findings hidden, and as much hidden elsewhere, with boxes `factor` times as wide and high."""
        answers = {}
        for elsewhere, name in enumerate(names):
            said, amounts = self.again(name, functools.partial(self.hide, elsewhere=elsewhere, factor=factor))
            some = ~np.isnan(amounts)
            if crowded := int((boxed & ~some).sum()):
                without = counted(crowded, "image")
                self.notes.append(f"{name}: without {without} where there is no room beside the boxes")
            self.add(name, said[some], int((amounts[some] > 0).sum()))
            filled = _predictions(
                said[some].assign(probability=amounts[some] / 256)
            )  # of 255 grey levels at most
            self.rows[-1]["fill_auc"] = evaluation.scores(filled, ("auc",))["auc"]
            answers[name] = said[some]
        hidden, other = answers.values()
        both = hidden.index.intersection(other.index)
        less = evaluation.gains(_predictions(hidden.loc[both]), _predictions(other.loc[both]), ("auc",))
        self.rows[-2]["less_elsewhere"] = less["auc"]

    def hide(self, image, position, elsewhere, factor):
        """The image without its boxes, or without as much elsewhere; None where it has none, or no room."""
        if position not in self.given:
            return None
        boxes, shares = self.given[position]
        boxes, inside = stress.pixels(boxes, image.shape), stress.body(image)
        if shares is not None:  # another image's
            boxes = stress.place(inside, boxes, shares, np.random.default_rng([self.seed, position, 0]))
        boxes = stress.widened(boxes, image.shape, factor)
        if elsewhere:
            rng = np.random.default_rng([self.seed, position, 1])
            boxes = stress.place(inside, boxes, stress.covered(inside, boxes), rng, off=boxes)
        return None if boxes is None else stress.hide(image, boxes)

    def add_without_hardware(self):
        """Adds the images without hardware, where the data set's table tells them."""
        if "hardware" not in self.known:
            self.notes.append(f"{HARDWARE}: left out, the data set does not say which images show hardware")
            return
        kept = ~self.known["hardware"].astype(bool).to_numpy()
        if kept.all():
            self.notes.append(f"{HARDWARE}: left out, no image shows any")
            return
        try:
            self.add(HARDWARE, self.table[kept], 0)
        except EvaluationError as error:
            self.notes.append(f"{HARDWARE}: left out, {error}")
            return
        # Not the same images: each resample's X-rays with those of them that show hardware, and without.
        every = _predictions(self.table)
        auc = every.statistic("auc")
        self.rows[-1]["difference"] = Clusters(every.sources, every.labels).interval(
            lambda weights, runs: auc(weights * kept, runs) - auc(weights, runs)
        )


def _predictions(table):
    return scoring.predictions(table, 0.5)  # no threshold is asked for
