"""What to see in a classifier's figures: captions whose claims are computed from the numbers that they show."""

import numpy as np

from keras_fracture import evaluation
from keras_fracture.report import groups
from keras_fracture.report.markdown import counted, decimal

SAME = (
    "The network gives every image the same probability: it has learnt nothing yet; train longer or start from a "
    "trained network."
)
_SETTLED = 0.1  # below the best epoch's validation accuracy, the last epoch's is said to be a matter of luck


def at_threshold(predictions, chosen=None):
    """`at the threshold 0.42 (chosen on validation)`; of several runs that differ, all of them.

    Args:
        predictions: `evaluation.Predictions`.
        chosen: How it was chosen, or None.
    """
    numbers = list(dict.fromkeys(f"{one:.3g}" for one in predictions.thresholds))
    words = (
        f"the threshold {numbers[0]}" if len(numbers) == 1 else f"the seeds' thresholds {', '.join(numbers)}"
    )
    return f"at {words} ({chosen})" if chosen else f"at {words}"


def roc(predictions, scores, threshold):
    """Of the receiver operating characteristic.

    Args:
        predictions: `evaluation.Predictions`.
        scores: Dict of metric to `value`, `low`, `high`, of `evaluation.scores`.
        threshold: Of `at_threshold`.
    """
    return (
        "how many findings are found (sensitivity) at each share of healthy images called findings (false-positive "
        f"rate). {_band(predictions)} {_sentence(threshold)}, marked, {_mean(predictions)}"
        f"{_percent(scores['recall']['value'])} of the findings are found and "
        f"{_percent(1 - scores['specificity']['value'])} of the healthy images are false alarms. Guessing reaches "
        f"an area of 0.5; this one, {decimal(scores['auc'])}, {_beside(scores['auc'], 0.5, predictions)}."
    )


def precision_recall(predictions, scores, threshold):
    """Of precision against recall; arguments as of `roc`."""
    prevalence, average = float(predictions.labels.mean()), scores["average_precision"]
    return (
        "of the images called findings, the share that show one (precision), against the share of the findings that "
        f"is found (recall). {_band(predictions)} {_sentence(threshold)}, marked, "
        f"{_mean(predictions)}{_percent(scores['precision']['value'])} of the alarms are right. Guessing reaches "
        f"the share of findings among these images, {prevalence:.3f}, and more by luck where these are few; this "
        f"average precision is {decimal(average)}. Where findings are rarer, the same sensitivity and false-positive "
        "rate give less precision."
    )


def reliability(predictions, scores):
    """Of predicted probabilities against observed shares; arguments as of `roc`."""
    said, seen = predictions.probabilities.mean(), predictions.labels.mean()
    points = round(100 * abs(said - seen))
    too = "too high" if said > seen else "too low"
    verdict = (
        f"on the whole {too} by {counted(points, 'point')}" if points else "the two agree to half a point"
    )
    each = " (an image counts once a seed)" if len(predictions.probabilities) > 1 else ""
    return (
        "dots above the diagonal mean that findings are more common than the model says, dots below that they are "
        f"rarer; the lower panel shows how many images stand behind each dot{each}. The mean probability is "
        f"{_percent(said)}, and {_percent(seen)} of these images show a finding: {verdict}. Expected calibration "
        f"error: {decimal(scores['ece'])}."
    )


def confusion(matrix, predictions, threshold):
    """Of true against predicted classes.

    Args:
        matrix: Of `evaluation.confusion`.
        predictions: `evaluation.Predictions`.
        threshold: Of `at_threshold`.
    """
    (right, alarms), (missed, found) = np.asarray(matrix).tolist()
    healthy, findings = right + alarms, missed + found
    runs = len(predictions.probabilities)
    means = f" Counts are means of {runs} seeds, rounded." if runs > 1 else ""
    return (
        f"{threshold}, {found:,} of {counted(findings, 'finding')} are found and {missed:,} missed (lower row); "
        f"{alarms:,} of {counted(healthy, 'healthy image')} are false alarms (upper right).{means}"
    )


def seeds(values):
    """Of what each seed reaches; `values` is a dict of a metric in words to one number a seed."""
    told = "; ".join(
        f"{metric} {', '.join(f'{one:.3f}' for one in numbers)} (standard deviation {np.std(numbers, ddof=1):.3f})"
        for metric, numbers in values.items()
    )
    return (
        "the same training from other random numbers, each tested on the same images. What a single training would "
        f"have shown is one of these dots. In the order of the seeds: {told}. The interval of the mean covers other "
        "X-rays, too."
    )


def failures(labels):
    """Of the most confident errors; `labels` are those of the images shown."""
    missed = int(np.sum(labels))
    return (
        f"the {counted(len(labels), 'test image')} it is most confidently wrong about, one of each X-ray or patient, "
        f"the most confident first: {counted(missed, 'missed finding')}, "
        f"{counted(len(labels) - missed, 'false alarm')}. Above each the truth and the probability of a finding. Look "
        "whether the heat (Grad-CAM) lies on bone, or on "
        "what should not matter: borders, metal, letters."
    )


def heat(pointing, several=False):
    """Of heat maps beside boxes; `pointing` is a dict of `value`, `chance` and `images`, `several` are the seeds."""
    whose = ", that of the first seed alone," if several else ""
    return (
        "where it looks (Grad-CAM) in some test images with a finding, one of each X-ray or patient. Look whether the "
        f"heat meets the box. Pointing game: its maximum{whose} lies in a box in {_percent(pointing['value'])} of all "
        f"{counted(pointing['images'], 'test image')} with boxes; a random pixel would in "
        f"{_percent(pointing['chance'])}."
    )


def accuracy(ends):
    """Of accuracies over epochs; `ends` is a dict of a model's name to its last (training, validation)."""
    told = "; ".join(
        f"{name}: {_percent(training)} and {_percent(validation)}"
        for name, (training, validation) in ends.items()
    )
    return (
        "Training that climbs where validation does not follow is a sign of images learnt by heart. Training and "
        f"validation in the last epoch: {told}."
    )


def warnings(policy, name, trained, patience):
    """Sentences on what makes the scores of a model doubtful, see `untaught` and `unsettled`.

    Args:
        policy: Of the split.
        name: The model's.
        trained: A `papers.classifier.TrainedModel`.
        patience: Of its training, or None: with it the weights of the best epoch are tested, not those of the last.
    """
    title = f"{policy} split, {name}"
    yield from untaught(title, trained.probabilities["test"])
    if patience is None:
        yield from unsettled(title, trained.histories)


def untaught(title, probabilities):
    """Sentences on the seeds whose network says the same of every image.

    Args:
        title: What the model is called.
        probabilities: Of the test images, `(seeds, n)`.
    """
    for number, row in enumerate(probabilities):
        if not np.ptp(row):
            yield f"**{title}{_seed(number, probabilities)}: {SAME}**"


def unsettled(title, histories):
    """Sentences on the seeds whose last epoch is far worse on validation than another one.

    Args:
        title: What the model is called.
        histories: A `pandas.DataFrame` a seed with the column `val_accuracy`, an epoch a row.
    """
    for number, history in enumerate(histories):
        accuracies = history["val_accuracy"].to_numpy()
        best = int(np.argmax(accuracies))
        if accuracies[best] - accuracies[-1] > _SETTLED:
            seed = _seed(number, histories)
            yield (
                f"**Training has not settled: {title}{seed}.** Validation accuracy is {100 * accuracies[best]:.1f} % "
                f"after epoch {best + 1} and {100 * accuracies[-1]:.1f} % after the last, whose weights are tested: "
                "another number of epochs gives another result."
            )


def _seed(number, seeds):
    return f", seed {number + 1} of {len(seeds)}" if len(seeds) > 1 else ""


def loss(lowest, added=()):
    """Of losses over epochs.

    Args:
        lowest: A dict of a model's name to (epoch of the lowest validation loss, epochs).
        added: What the losses hold beside that of the findings, which may hide that this one rises.
    """
    told = "; ".join(f"{name}: epoch {epoch} of {epochs}" for name, (epoch, epochs) in lowest.items())
    beside = (
        f" The losses hold {' and '.join(added)}, too: a fall of these may hide such a rise." if added else ""
    )
    return f"A validation loss that rises again means overfitting.{beside} Lowest validation loss: {told}."


def _mean(predictions):
    return "on average " if len(predictions.probabilities) > 1 else ""


def _band(predictions):
    what = "whole X-rays and seeds" if len(predictions.probabilities) > 1 else "whole X-rays"
    return f"The band holds 95 % of resamples of {what}, at each point."


def resampled(runs, one="seed"):
    """What intervals come from, in words; `one` is what there is a single one of where there are no several runs."""
    again = " and seeds" if runs > 1 else f"; one {one}, so that they do not cover training again"
    return f"bootstrap that resamples whole X-rays (sources, not files){again}"


def _beside(score, level, predictions):
    """Where a score's interval lies, if the X-rays suffice for one."""
    if evaluation.least_sources(predictions) < groups.ENOUGH:
        return f"comes from {groups.FEW}"
    if score["low"] > level:
        return "lies above that with all of its interval"
    if score["high"] < level:
        return "lies below that with all of its interval"
    return "has that inside its interval: no difference that can be shown"


def _percent(share):
    return f"{100 * share:.1f} %"


def _sentence(words):
    return words[:1].upper() + words[1:]
