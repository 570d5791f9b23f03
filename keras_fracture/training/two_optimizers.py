"""What models that are trained by two optimizers share: what they are compiled with, checked for and saved as."""

import inspect
import warnings

import keras
import numpy as np

from keras_fracture.data.ranges import check_classes
from keras_fracture.errors import TrainingError
from keras_fracture.training import losses

_UNUSED = ("sample_weight", "class_weight", "validation_data", "validation_split")  # of `fit`'s arguments
_NOT_COMPILED = ("metrics", "weighted_metrics", "loss_weights")  # of `compile`'s
_OPTIMIZERS = ("g_optimizer", "d_optimizer")  # in the order of the networks, generator first
_OF_ONE_OPTIMIZER = (  # a subclass of one's own may know of two
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ReduceLROnPlateau,
    keras.callbacks.SwapEMAWeights,
)


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


def _optimizer(given, name):
    """The optimizer that an argument of `compile` stands for."""
    try:
        optimizer = keras.optimizers.get(given)
    except (TypeError, ValueError):
        optimizer = None
    if optimizer is None:
        raise TrainingError(
            f"{name} must be an optimizer, such as keras.optimizers.Adam(2e-4, 0.5), or the name of one. "
            f"Received: {given!r}"
        )
    inner = _inner(optimizer)
    if inner.use_ema and not inner.ema_overwrite_frequency:  # which `fit` reads from `model.optimizer` alone
        raise TrainingError(
            f"The average of use_ema=True would never be used: leave it out, and take ema= of the model, such as "
            f"ema=0.999. Received: {name} with use_ema=True"
        )
    return optimizer


def _inner(optimizer):
    return getattr(optimizer, "inner_optimizer", optimizer)


class TwoOptimizers(keras.Model):
    """What models trained by `g_optimizer` and `d_optimizer` share: they are saved with all that `fit` goes on from.

    `keras.saving.load_model` compiles such a model as it was, with both optimizers and where they were, and random
    numbers go on too, which Keras by itself does not save.
    """

    def set_compiled(self, g_optimizer, d_optimizer, loss, **kwargs):
        """What `compile` of the subclasses does, once they know the loss.

        Args:
            g_optimizer: Of the networks that `networks_of("g_optimizer")` returns, or its name.
            d_optimizer: Likewise.
            loss: A `losses.AdversarialLoss`.
            **kwargs: As in `keras.Model.compile`.

        Raises:
            TrainingError: An optimizer is none, the same one as the other, or has an average of weights, which would
                change nothing; and so would metrics and weights of losses. Or there is nothing that it could train.
        """
        if unused := [name for name in _NOT_COMPILED if kwargs.get(name)]:
            raise TrainingError(
                f"{type(self).__name__} is compiled without {', '.join(unused)}, which would change nothing: leave it "
                "out, measure samples by `evaluation`, and weigh losses by arguments of the model. "
                f"Received: {', '.join(unused)}"
            )
        given = dict(zip(_OPTIMIZERS, (g_optimizer, d_optimizer), strict=True))
        given = {name: _optimizer(one, name) for name, one in given.items()}
        if _inner(given["g_optimizer"]) is _inner(given["d_optimizer"]):
            raise TrainingError(
                "g_optimizer and d_optimizer must be two objects, for each keeps what it knows of its own weights: "
                f"make it twice. Received: one {type(g_optimizer).__name__} for both"
            )
        if idle := [name for name in _OPTIMIZERS if not self._learnt(name)]:
            raise TrainingError(
                f"All that {idle[0]} is for is frozen, or not built yet: build it, "
                "set `trainable` of a part to True, or the learning rate to 0. Received: 0 weights to train"
            )
        super().compile(optimizer=None, **kwargs)
        for name in reversed(_OPTIMIZERS):
            setattr(self, name, scaled(given[name], self.networks_of(name)[0].dtype_policy))
        self.adversarial_loss = loss
        # Built here, so that a backup can be restored before the first step.
        for name in reversed(_OPTIMIZERS):
            getattr(self, name).build(self._learnt(name))
        self.compiled_weights = self._all_learnt()

    def networks_of(self, name):
        """The networks that an optimizer, "g_optimizer" or "d_optimizer", trains, as a list."""
        raise NotImplementedError

    def _learnt(self, name):
        return [weight for network in self.networks_of(name) for weight in network.trainable_variables]

    def _all_learnt(self):
        """Which weights are trained, as numbers: variables that a model keeps are saved with it."""
        return tuple(id(weight) for name in _OPTIMIZERS for weight in self._learnt(name))

    def fit(self, *args, **kwargs):
        """`keras.Model.fit`, without weights of images or classes and without validation, which have no meaning here.

        Raises:
            TrainingError: There are such, a label is no class, or a callback sets a learning rate of `model.optimizer`,
                which there is none of; or the model is not compiled, as after `load_model` with `compile=False`, or
                `trainable` of a part has changed since.
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
        if (learnt := self._all_learnt()) != self.compiled_weights:
            raise TrainingError(
                "`trainable` of a part of this model was changed after compile, which the optimizers do not know: "
                f"call compile again, with new ones. Received: {len(learnt)} weights to train, "
                f"{len(self.compiled_weights)} when it was compiled"
            )
        given = inspect.signature(getattr(keras.Model, method)).bind(self, *args, **kwargs).arguments
        if unused := [name for name in _UNUSED if not _is_unset(given.get(name))]:
            raise TrainingError(
                f"{type(self).__name__} takes no {', '.join(unused)}, which would change nothing: leave it out, and "
                f"measure samples by `evaluation`. Received: {', '.join(unused)}"
            )
        callbacks = keras.tree.flatten(getattr(given.get("callbacks"), "callbacks", given.get("callbacks")))
        if wrong := [type(one).__name__ for one in callbacks if type(one) in _OF_ONE_OPTIMIZER]:
            raise TrainingError(
                f"{type(self).__name__} has two optimizers, and {', '.join(wrong)} is for one: give g_optimizer and "
                "d_optimizer a schedule each, such as keras.optimizers.schedules.CosineDecay, and take ema= of the "
                f"model for an average of weights. Received: {', '.join(wrong)}"
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
        try:
            self.compile(**optimizers, loss=losses.get(**config["loss"]))
        except TrainingError as error:  # of what earlier versions took
            warnings.warn(f"Loaded, but not compiled as it was saved: {error}", stacklevel=2)

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
