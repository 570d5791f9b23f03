"""From images to probabilities of a finding."""

import numpy as np
import scipy
import tensorflow as tf
from keras import ops

from keras_fracture.data.pipeline import grey_to
from keras_fracture.errors import EvaluationError, ModelError
from keras_fracture.models.preprocessing import check_size, scale
from keras_fracture.training.precision import as_saved


def predictor(model):
    """`probabilities` of one model as a function of images, for many calls: the model is traced once.

    Args:
        model: A classifier of this package, with one logit or two.

    Returns:
        A function of `images`, `batch_size` and `flips`; it raises what `probabilities` does.
    """

    @tf.function(reduce_retracing=True)
    def logits_of(batch):
        return model(batch, training=False)

    def predict(images, batch_size=64, flips=False):
        check_size(images, model)
        if len(images.shape) != 4 or images.shape[-1] not in (1, model.channels):
            raise ModelError(
                f"images must be (n, height, width, channels), grey or of {model.channels} channel(s), as the model "
                f"takes them. Received: {tuple(images.shape)}"
            )
        if not len(images):
            raise EvaluationError(f"There must be at least one image. Received: {tuple(images.shape)}")
        views = [images, images[:, :, ::-1]] if flips else [images]
        per_view = []
        for view in views:
            parts = []
            for start in range(0, len(view), batch_size):
                batch = tf.convert_to_tensor(scale(view[start : start + batch_size], model.pixel_range))
                with as_saved():
                    parts.append(ops.convert_to_numpy(logits_of(grey_to(batch, model.channels))))
            logits = np.concatenate(parts).astype(np.float64)
            if logits.shape[1] > 2:
                raise EvaluationError(f"A classifier must have one logit or two. Received: {logits.shape[1]}")
            # Softmax over two logits is the sigmoid of their difference.
            healthy = logits[:, 0] if logits.shape[1] == 2 else 0.0
            per_view.append(scipy.special.expit(logits[:, -1] - healthy))
        return np.mean(per_view, axis=0)

    return predict


def probabilities(model, images, batch_size=64, flips=False):
    """What a classifier says about images.

    Args:
        model: A classifier of this package, with one logit or two.
        images: uint8 `(n, size, size, 1 or 3)`, prepared as the model's were in training: those of a model of
            `models.load` by its `preprocess`. Grey ones are repeated to the model's channels.
        batch_size: Images at a time.
        flips: Average over the image and its mirror image, as `garcia_inception` may.

    Returns:
        float64 `(n,)`, the probability of label 1.

    Raises:
        EvaluationError: The model has more than two classes, or there are no images.
        ModelError: It takes images of another size or type, or of other channels.
    """
    return predictor(model)(images, batch_size, flips)
