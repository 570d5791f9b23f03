"""The one table of architectures: a name, the class that builds it, and the arguments that name means."""

import functools
import inspect
import io
import json
import logging
import math
import zipfile
from pathlib import Path

import h5py
import keras

from keras_fracture.errors import FractureError, ModelError, WeightsError, meant, one_line
from keras_fracture.models.compiling import (
    check_class_weight,
    check_image_size,
    check_labels,
    check_schedule,
    for_logits,
    note_rate,
)
from keras_fracture.models.copying import copied_whole
from keras_fracture.models.freezing import frozen_whole, keeps_frozen

_BUILDERS = {}
_LOG = logging.getLogger(__name__)


def register(name, **defaults):
    """Class decorator: `models.create(name, **overrides)` builds the class with `defaults | overrides`.

    Several names may share a class (`resnet18`, `resnet34`); apply the decorator once for each. It implies
    `by_own_policy`, `in_own_range`, `of_own_weights`, `keeps_frozen` and `copied_whole`, and of a classifier
    `for_logits`.
    """

    def decorate(cls):
        built = copied_whole(keeps_frozen(of_own_weights(in_own_range(by_own_policy(cls)))))
        _BUILDERS[name] = functools.partial(
            for_logits(built) if hasattr(cls, "classify") else built, **defaults
        )
        return cls

    return decorate


def by_own_policy(cls):
    """Class decorator: all layers that the constructor makes follow the dtype policy that it is given.

    Keras lets them follow the global one, so that a model saved in float32 would compute in bfloat16, or the reverse,
    wherever another policy is the global one as it is loaded. All layers are frozen, too, where the model is.
    """
    init = cls.__init__
    if hasattr(init, "__wrapped__"):  # decorated already
        return cls

    @functools.wraps(init)
    def init_by_own_policy(self, *args, dtype=None, **kwargs):
        before = keras.config.dtype_policy()
        own = before if dtype is None else keras.dtype_policies.get(dtype)
        keras.config.set_dtype_policy(own)
        try:
            init(self, *args, dtype=own, **kwargs)
        finally:
            keras.config.set_dtype_policy(before)
        frozen_whole(self)

    init_by_own_policy.__signature__ = inspect.signature(init)  # Keras reads it without unwrapping
    cls.__init__ = init_by_own_policy
    return cls


def in_own_range(cls):
    """Class decorator: what Keras trains, measures and asks with looks at the first images, see `data.ranges`.

    So do `fit`, with its `validation_data`, `evaluate`, `predict`, and those for a single batch; calling the model
    itself does not. A `pixel_range` of None takes any images. Labels are looked at by `compiling.check_labels`.
    """
    if hasattr(cls.fit, "looks_at_range"):  # decorated already
        return cls
    for name in ("fit", *_PURPOSES):
        setattr(cls, name, _looking(getattr(cls, name), name))
    return cls


_PURPOSES = {
    "evaluate": "evaluate",
    "predict": "predict",
    "train_on_batch": "train on",
    "test_on_batch": "evaluate",
    "predict_on_batch": "predict",
}


def _looking(method, name):
    @functools.wraps(method)
    def method_in_own_range(self, x=None, *args, **kwargs):
        # Here, because it inspects TensorFlow's datasets, and an architecture needs no TensorFlow.
        from keras_fracture.data import ranges

        note_rate(self)
        pixel_range, of_labels = getattr(self, "pixel_range", None), functools.partial(check_labels, self)
        given = inspect.signature(getattr(keras.Model, name)).bind(self, x, *args, **kwargs).arguments
        check_class_weight(self, given.get("class_weight"))
        of_size = functools.partial(check_image_size, self)
        if name == "fit":
            ranges.check_training(x, pixel_range, of_labels, of_size)
            validation, labels = given.get("validation_data"), None
            if isinstance(validation, list | tuple):
                # Labels of no weight may be any.
                validation, labels = validation[0], validation[1] if len(validation) == 2 else None
            ranges.check_images(validation, pixel_range, "validate on", of_labels, of_size)
            of_labels(labels)
            epochs = given.get("epochs", 1), given.get("initial_epoch", 0)
            check_schedule(self, given.get("steps_per_epoch") or ranges.steps(given), *epochs)
        elif not kwargs.get("_use_cached_eval_dataset"):  # `fit` after each epoch, with what it was given
            ranges.check_images(
                x, pixel_range, _PURPOSES[name], None if "predict" in name else of_labels, of_size
            )
        of_labels(given.get("y") if given.get("sample_weight") is None else None)
        result = method(self, x, *args, **kwargs)
        if name == "fit" and (spoilt := ranges.not_finite(self.weights)):  # which the loss need not show
            _LOG.warning(
                "a weight is not finite after this training, and what the model says is nonsense: look for NaN in the "
                "images, or lower the learning rate, and train anew. Received: NaN or infinity in %s", spoilt,
            )  # fmt: skip
        return result

    method_in_own_range.looks_at_range = True
    if method is getattr(keras.Model, name):
        method_in_own_range.__doc__ = f"`keras.Model.{name}`, which looks at the range of the first images."
    return method_in_own_range


def of_own_weights(cls):
    """Class decorator: `load_weights` refuses a file of a larger network, of which Keras takes the part that fits.

    A file may hold layers beside, such as a head that the model does not have, and optimizers.
    """
    load = cls.load_weights
    if hasattr(load, "looks_at_file"):  # decorated already
        return cls

    @functools.wraps(load)
    def load_own_weights(self, filepath, skip_mismatch=False, **kwargs):
        skips = skip_mismatch or kwargs.get("objects_to_skip")
        if not skips and str(filepath).endswith((".weights.h5", ".weights.json", ".keras")):
            held, own = _weights_in(filepath, self), sum(math.prod(one.shape) for one in self.variables)
            if held > own:
                raise WeightsError(
                    "The file is of a larger network, or of a quantised one, of which Keras would take what fits: "
                    "create that one, quantise this one alike, or pass skip_mismatch=True. "
                    f"Received: {held:,} weights in layers of the names of these, which have {own:,}, in {filepath}"
                )
        return load(self, filepath, skip_mismatch=skip_mismatch, **kwargs)

    load_own_weights.looks_at_file = True
    if load is keras.Model.load_weights:
        load_own_weights.__doc__ = "`keras.Model.load_weights`, which refuses the file of a larger network."
    cls.load_weights = load_own_weights
    return cls


def _weights_in(path, model):
    """How many weights a file holds of the layers that a model has; 0 where Keras will say what is wrong with it."""
    sizes = []

    def visit(name, item):
        parts = name.split("/")
        beside = any(part.endswith("optimizer") or part.startswith("seed_generator") for part in parts)
        if hasattr(item, "size") and not beside and getattr(model, parts[0], None) is not None:
            sizes.append(item.size)

    try:
        for file in _stores(Path(path)):
            with h5py.File(file) as store:
                store.visititems(visit)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile):
        return 0
    return sum(sizes)


def _stores(path):
    """What h5py opens of a file of weights: the file, the one in an archive, or all that an index names."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            return [io.BytesIO(archive.read("model.weights.h5"))]
    if path.suffix == ".json":
        shards = json.loads(path.read_bytes())["weight_map"].values()
        names = {name for one in shards for name in ([one] if isinstance(one, str) else one)}
        return [path.with_name(name) for name in sorted(names)]
    return [path]


def architecture_of(model):
    """What files call the class of a model: by its name alone one that they can build again, by its module any other.

    A class of somebody else may have the name of one of this package.
    """
    kind = type(model)
    known = keras.saving.get_registered_object(f"keras_fracture>{kind.__name__}")
    return kind.__name__ if known is kind else f"{kind.__module__}.{kind.__qualname__}"


def names():
    """Returns the names `create` accepts, sorted."""
    return sorted(_BUILDERS)


def arguments(name):
    """Constructor arguments of an architecture, as `settings.parse` takes them.

    Returns:
        A dict of name to `(annotation, default)`, the default being what the name stands for.

    Raises:
        ModelError: No such name.
    """
    builder = _builder(name)
    parameters = inspect.signature(builder.func.__init__).parameters.values()
    return {
        parameter.name: (parameter.annotation, builder.keywords.get(parameter.name, parameter.default))
        for parameter in parameters
        if parameter.default is not parameter.empty
    }


def create(name, /, **overrides):
    """Builds an architecture by name.

    Args:
        name: One of `names()`.
        **overrides: Constructor arguments of that architecture, over the values the name stands for; Keras's `dtype`,
            and `name`, by default the architecture's, too.

    Returns:
        A built `keras.Model` (its weights exist).

    Raises:
        ModelError: No such name, or the constructor does not take these arguments.
    """
    builder = _builder(name)
    try:
        return builder(**{"name": name} | overrides)
    except FractureError:
        raise
    except (TypeError, ValueError) as error:
        raise ModelError(f"{name} cannot be built so: {one_line(error)}. Received: {overrides}") from error


def _builder(name):
    if name not in _BUILDERS:
        raise ModelError(
            f"No such model. Choose one of {', '.join(names())}. {meant(name, names())}Received: {name!r}"
        )
    return _BUILDERS[name]
