"""How hard the embedded data set is: `python -m benchmarks phantom`."""

import time

import keras
import numpy as np
from skimage.feature import hog
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.errors import BenchmarkError
from keras_fracture import data, models, training
from keras_fracture.data import Augmentation, Preprocess, phantom
from keras_fracture.data.library_settings import one_opencv_thread
from keras_fracture.data.phantom_findings import KINDS
from keras_fracture.evaluation.predicting import probabilities

GOALS = {
    "phantom: seconds to draw all images, one core": "at most 60",
    "gradients, logistic regression: test AUC": "below 0.9",
    "ResNet-18: test AUC": "above 0.95",
}
_SIZE, _BATCH, _WARMUP = 64, 32, 100


def measure_phantom(epochs=40):
    """Two classifiers of 64 x 64 pixels learn the training split of `grouped` and answer the limbs held out.

    Histograms of oriented gradients under a logistic regression cannot tell a broken line from a whole one that
    looks alike; a narrow ResNet-18 can. Nothing is chosen on the test split.

    Args:
        epochs: Of the ResNet.

    Returns:
        A dict of name to number: seconds to draw, numbers of images, AUC of all test images and of each kind of
        finding against all healthy ones, by classifier.

    Raises:
        BenchmarkError: `epochs` is not positive.
    """
    if epochs < 1:
        raise BenchmarkError(f"epochs must be 1 or more. Received: {epochs}")
    train, test = (data.load("phantom", split) for split in ("train", "test"))
    (images, labels), (asked, truth) = (records.arrays(Preprocess(size=_SIZE)) for records in (train, test))
    kinds = test.table["finding"].to_numpy()
    numbers = {"phantom: seconds to draw all images, one core": _drawing_seconds()}
    numbers |= {"training images": len(images), "test images": len(asked)}
    for name, answers in {
        "gradients, logistic regression": _gradients(images, labels, asked),
        "ResNet-18": _resnet(images, labels, asked, epochs),
    }.items():
        numbers[f"{name}: test AUC"] = roc_auc_score(truth, answers)
        for kind in KINDS:
            rows = (kinds == kind) | (truth == 0)
            numbers[f"{name}: test AUC, {kind}"] = roc_auc_score(truth[rows], answers[rows])
    return {name: float(number) for name, number in numbers.items()}


@one_opencv_thread
def _drawing_seconds(every=10):
    """CPU seconds for the whole data set, from one image in ten."""
    records = phantom.records(test_sources=phantom.TEST_SOURCES)
    start = time.process_time()
    for index in range(0, len(records), every):
        records[index]
    return every * (time.process_time() - start)


def _gradients(images, labels, asked):
    def features(some):
        return [hog(image, 9, (8, 8), (2, 2)) for image in some[..., 0]]

    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=1000))
    return classifier.fit(features(images), labels).predict_proba(features(asked))[:, 1]


def _resnet(images, labels, asked, epochs):
    keras.utils.set_random_seed(0)
    model = models.create("resnet18", num_classes=2, image_size=_SIZE, channels=1, width=16)
    training.add_l2(model, 5e-4)
    steps = epochs * (len(images) // _BATCH)
    warmup = min(_WARMUP, steps // 2)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=2e-3, warmup_steps=warmup
    )
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    model.compile(keras.optimizers.Adam(rate), loss)
    targets, augment = np.eye(2, dtype="f4")[labels], Augmentation(value_range=model.pixel_range)
    training.fit_briefly(model, images, targets, epochs, batch_size=_BATCH, augment=augment)
    return probabilities(model, asked)
