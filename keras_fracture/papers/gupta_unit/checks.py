"""Is what UNIT paints a lesion, does it turn back, and does it show where it was pasted in?

By the answers the translator of an epoch, and an exponent of the blending, are chosen.
"""

import json
from pathlib import Path

import keras
import numpy as np

from keras_fracture import evaluation, files, synthesis
from keras_fracture.evaluation import Predictions
from keras_fracture.evaluation.bootstrap import Clusters
from keras_fracture.evaluation.predicting import probabilities
from keras_fracture.evaluation.utility import small_classifier
from keras_fracture.training.weights import save_weights

_EPOCHS = 10


class LowestKID(keras.callbacks.Callback):
    """Measures a translator after some epochs and keeps the one whose patches come closest to real lesions.

    Adds `kid`, the kernel distance between the features `xray` of translated healthy patches and of lesion patches,
    to these epochs' logs.

    Args:
        folder: Gets the weights, `best.weights.h5`, and what they scored, `best.json`.
        healthy: uint8 patches of X-rays that the translator does not learn from.
        lesions: The same, with a lesion.
        every: Epochs between two measurements.
        epochs: The last is measured in any case.
    """

    def __init__(self, folder, healthy, lesions, every, epochs):
        super().__init__()
        self.weights_file, self.score_file = Path(folder, "best.weights.h5"), Path(folder, "best.json")
        self.healthy, self.every, self.epochs = healthy, every, epochs
        self.lesions = evaluation.extract(lesions, "xray")

    def on_epoch_end(self, epoch, logs=None):
        epoch += 1
        if epoch % self.every and epoch != self.epochs:
            return
        translated = evaluation.extract(self.model.translate(self.healthy), "xray")
        kid = logs["kid"] = evaluation.kid(self.lesions, translated)[0]
        best = json.loads(self.score_file.read_text()) if self.score_file.exists() else None
        # What a later epoch scored is of a training that was cut off and is repeated from here.
        if best is None or best["epoch"] >= epoch or kid < best["kid"]:
            # The weights first: a score without them would keep worse ones for good.
            save_weights(self.model.sampler, self.weights_file)
            files.write_text(self.score_file, json.dumps({"epoch": epoch, "kid": kid}) + "\n")

    def restore(self, unit, history):
        """Gives a trained `UNITModel` the weights of the best epoch.

        Returns:
            A dict of that `epoch`, its `kid`, and that of the last epoch, `last_kid`.
        """
        unit.sampler.load_weights(self.weights_file)
        return json.loads(self.score_file.read_text()) | {"last_kid": float(history["kid"].iloc[-1])}


def choose_exponent(seams, limit):
    """The largest exponent whose seam is found with an AUC of at most `limit`; the smallest where none is.

    Args:
        seams: Exponent to the AUC, a dict with `value`; may be empty.
        limit: See above.

    Returns:
        A float; None without seams.
    """
    hidden = [n for n, auc in seams.items() if auc["value"] <= limit]
    return max(hidden) if hidden else min(seams, default=None)


def judge_patches(translator, healthy, lesions, sources, seed, strategy):
    """What a lesion detector, which learnt from real patches, says of translated ones.

    Args:
        translator: `study.Translator`; the detector learns from its patches.
        healthy: `synthesis.Patches` of other X-rays, without a lesion.
        lesions: The same, with one.
        sources: X-rays or patients that healthy patches and those of lesions are of, two arrays.
        seed: Of the detector.
        strategy: A `training.distribution.Distribution` to train under.

    Returns:
        A dict: `detector_auc` on the real patches given; `raised`, the share of healthy patches that score higher
        once translated; `score_before`, `score_after` and `score_lesions`, mean probabilities; `cycle_error`, the
        mean absolute difference, as a share of the range, of healthy patches translated and turned back.
    """
    taught = np.concatenate([translator.healthy.images, translator.lesions.images])
    labels = np.repeat([0, 1], [len(translator.healthy), len(translator.lesions)])
    detector = small_classifier(taught, labels, _EPOCHS, seed, strategy=strategy)
    painted = translator.unit.translate(healthy.images)
    back = translator.unit.translate(painted, "b", "a")
    before, after, real = (
        probabilities(detector, images) for images in (healthy.images, painted, lesions.images)
    )
    on_real = np.concatenate([before, real])
    truth = np.repeat([0, 1], [len(before), len(real)])
    return {
        "detector_auc": evaluation.scores(
            Predictions(truth, np.concatenate(sources), on_real[None]), ("auc",)
        )["auc"],
        "raised": float((after > before).mean()),
        "score_before": float(before.mean()),
        "score_after": float(after.mean()),
        "score_lesions": float(real.mean()),
        "cycle_error": float(np.abs(back.astype(float) - healthy.images).mean() / 255),
    }


def judge_seams(before, painted, windows, size, seed, strategy):
    """How well a classifier tells painted from real by the seam alone; half the X-rays teach, half test.

    Args:
        before: `experiment.splits.Split` of the healthy images that were painted into.
        painted: The same images, painted.
        windows: int `(n, 4)`, see `synthesis.border`.
        size: Side of the seam's patches in pixels.
        seed: Of the halves and the classifier.
        strategy: As in `judge_patches`.

    Returns:
        The AUC, a dict of value, low and high; 0.5 is no trace.
    """
    rings = np.concatenate([synthesis.border(images, windows, size) for images in (before.images, painted)])
    labels = np.repeat([0, 1], len(painted))
    sources = np.tile(before.sources, 2)
    names = np.random.default_rng(seed).permutation(np.unique(sources))
    teaches = np.isin(sources, names[: len(names) // 2])
    detector = small_classifier(rings[teaches], labels[teaches], _EPOCHS, seed, strategy=strategy)
    tested = Predictions(labels[~teaches], sources[~teaches], probabilities(detector, rings[~teaches])[None])
    # Every X-ray is there before and after: no strata of labels.
    return Clusters(tested.sources).interval(tested.statistic("auc"), 1)
