"""What comes out of `gupta_unit`: translators, classifiers by arm, and how they compare."""

import dataclasses

import keras
import pandas as pd

from keras_fracture import evaluation, synthesis, training
from keras_fracture.evaluation import Predictions
from keras_fracture.papers.gupta_unit.parts import Part


@dataclasses.dataclass(frozen=True)
class Translator:
    """A trained UNIT.

    Attributes:
        unit: `training.UNITModel`.
        history: A `pandas.DataFrame`, a row an epoch.
        healthy: `synthesis.Patches` it learnt from.
        lesions: The others.
        digest: First letters of the SHA-256 of its weights.
        chosen: Where an epoch was chosen by validation images, what `checks.LowestKID.restore` returned; else None.
    """

    unit: training.UNITModel
    history: pd.DataFrame
    healthy: synthesis.Patches
    lesions: synthesis.Patches
    digest: str
    chosen: dict | None = None


@dataclasses.dataclass(frozen=True)
class Arm:
    """Classifiers that learnt from the same images.

    Attributes:
        probabilities: Split name to probabilities `(seeds, n)`.
        lesions: Images with a lesion they learnt from.
        added: How many of them are painted.
        threshold: Of the filter, or None.
        tried: Validation AUC by threshold.
    """

    probabilities: dict
    lesions: int
    added: int = 0
    threshold: float | None = None
    tried: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Study:
    """What came out of one part.

    Attributes:
        part: `Part`.
        own: Its `Translator`, or None.
        scorer: The first of its baseline classifiers, whose scores filter.
        arms: Name to `Arm`.
        painted: Arm to what `experiment.paint` gives.
        checks: What `experiment.check` measures; empty without a translator.
        exponent: Of the blending by its own translator, or by the one that it is lent.
    """

    part: Part
    own: Translator | None
    scorer: keras.Model
    arms: dict
    painted: dict
    checks: dict
    exponent: float

    def predictions(self, arm):
        """`evaluation.Predictions` of an arm on the test split."""
        test = self.part.test
        return Predictions(test.labels, test.sources, self.arms[arm].probabilities["test"])

    def scores(self, arm):
        """AUC and average precision of an arm, and their gains over the baseline, each with an interval."""
        metrics = ("auc", "average_precision")
        scores = evaluation.scores(self.predictions(arm), metrics)
        if arm == "baseline":
            return scores
        gains = evaluation.gains(self.predictions(arm), self.predictions("baseline"), metrics)
        return scores | {f"{metric}_gain": gain for metric, gain in gains.items()}


def exactly(limit):
    """A threshold of the filter as text, with as many digits as tell it from any other."""
    short = f"{limit:g}"
    return short if float(short) == limit else repr(float(limit))
