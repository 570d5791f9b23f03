"""What models that are trained by two optimizers share: what they are compiled with, checked for and saved as."""

import inspect

import keras
import numpy as np

from keras_fracture.data.ranges import check_classes
from keras_fracture.errors import TrainingError
from keras_fracture.training import losses

_UNUSED = ("sample_weight", "class_weight", "validation_data", "validation_split")  # of `fit`'s arguments
_OPTIMIZERS = ("g_optimizer", "d_optimizer")  # in the order of the networks, generator first


def scaled(optimizer, policy):
    """Wraps an optimizer in a `LossScaleOptimizer` where float16 gradients would underflow.

    Keras does this itself for `model.optimizer` only.
    """
    needed = policy.compute_dtype == "float16"
    if needed and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def unpacked(data):
    """What `train_step` is given, as (x, y): Keras hands over (x, y, None), too.

    Raises:
        TrainingError: There are weights of images.
    """
    x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
    if weights is not None:
        raise TrainingError(
            "GANs take no weights of images: leave them out. Received: (images, labels, weights)"
        )
    return x, y


def _is_unset(value):
    return value is None or (isinstance(value, float) and value == 0)


class TwoOptimizers(keras.Model):
    """What models trained by `g_optimizer` and `d_optimizer` share: they are saved with all that `fit` goes on from.

    `keras.saving.load_model` compiles such a model as it was, with both optimizers and where they were, and random
    numbers go on too, which Keras by itself does not save.
    """

    def fit(self, *args, **kwargs):
        """`keras.Model.fit`, without weights of images or classes and without validation, which have no meaning here.

        Raises:
            TrainingError: There are such, a label is no class, or the model is not compiled, as after `load_model` with
                `compile=False`.
        """
        self._check("fit", args, kwargs)
        return super().fit(*args, **kwargs)

    def train_on_batch(self, *args, **kwargs):
        """`keras.Model.train_on_batch`, without what `fit` refuses.

        Raises:
            TrainingError: As in `fit`.
        """
        self._check("train_on_batch", args, kwargs)
        return super().train_on_batch(*args, **kwargs)

    def _check(self, method, args, kwargs):
        if not hasattr(self, "adversarial_loss"):  # Keras takes what `load_model` read for compiled
            if own := getattr(self, "loss_of_file", None):
                raise TrainingError(
                    f"The file of this model has a loss of your own, {own}, which cannot be made from it: call "
                    f"compile(g_optimizer=..., d_optimizer=..., loss={own}(...)) before fit; optimizers start anew. "
                    f"Received: {self.name}, not compiled"
                )
            raise TrainingError(
                "Call compile(g_optimizer=..., d_optimizer=...) before fit, or load the model by "
                f"keras.saving.load_model(path), compiled as it was. Received: {self.name}, not compiled"
            )
        given = inspect.signature(getattr(keras.Model, method)).bind(self, *args, **kwargs).arguments
        if unused := [name for name in _UNUSED if not _is_unset(given.get(name))]:
            raise TrainingError(
                f"{type(self).__name__} takes no {', '.join(unused)}, which would change nothing: leave it out, and "
                f"measure samples by `evaluation`. Received: {', '.join(unused)}"
            )
        classes = getattr(self, "label_classes", None)
        if classes is not None and given.get("y") is not None:
            check_classes(given["y"], classes)

    def evaluate(self, *args, **kwargs):
        """Of GANs there is no loss that tells how good they are.

        Raises:
            TrainingError: Always.
        """
        raise self._not_evaluated("evaluate")

    def test_on_batch(self, *args, **kwargs):
        """As `evaluate`.

        Raises:
            TrainingError: Always.
        """
        raise self._not_evaluated("test_on_batch")

    def _not_evaluated(self, method):
        return TrainingError(
            f"{type(self).__name__} is not evaluated by its losses: measure its images by `evaluation`, such as "
            f"`evaluation.kid`. Received: {method}"
        )

    def get_compile_config(self):
        """See `keras.Model`; of a loss of another package, which could not be made again, its name alone."""
        if not hasattr(self, "adversarial_loss"):
            own = getattr(self, "loss_of_file", None)
            return {"own_loss": own} if own else {}
        loss = losses.config_of(self.adversarial_loss)
        if not loss:
            return {"own_loss": type(self.adversarial_loss).__name__}
        return {
            "loss": loss,
            **{name: keras.saving.serialize_keras_object(getattr(self, name)) for name in _OPTIMIZERS},
        }

    def compile_from_config(self, config):
        """See `keras.Model`."""
        self.loss_of_file = config.get("own_loss")
        if "loss" not in config or "d_optimizer" not in config:  # saved by an earlier version
            return
        optimizers = {name: keras.saving.deserialize_keras_object(config[name]) for name in _OPTIMIZERS}
        self.compile(**optimizers, loss=losses.get(**config["loss"]))

    def _seeds(self):
        """States of all random generators: of the noise, of dropout, of augmentation."""
        return [one for one in self.non_trainable_variables if "seed_generator" in one.path]

    def save_own_variables(self, store):
        """See `keras.Model`."""
        super().save_own_variables(store)
        store["seeds"] = np.array([np.asarray(state) for state in self._seeds()])

    def load_own_variables(self, store):
        """See `keras.Model`."""
        if "seeds" in store:  # not in files of earlier versions
            for state, saved in zip(self._seeds(), np.asarray(store["seeds"]), strict=True):
                state.assign(saved)
