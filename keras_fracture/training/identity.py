"""What a training is of, its images, model and first weights: so that no other is taken for its continuation."""

import contextlib
import contextvars
import dataclasses
import hashlib
import math

import keras
import numpy as np
import tensorflow as tf

_MADE = contextvars.ContextVar("made", default=None)
_FIRST = 8  # images that are known one by one
_LEVELS = 0.5  # that mean grey levels may differ by: decoders of two machines do not agree in every pixel
_OWN = "keras_fracture>"  # how Keras registers the package's classes
# A precision may be another on another machine, and names count the layers of a process.
_LEFT_OUT = (
    "name",
    "dtype",
    "trainable",
    "frozen",
    "module",
    "registered_name",
    "compile_config",
    "build_config",
)


@contextlib.contextmanager
def noted():
    """Gives a list of what `note` is told within."""
    token = _MADE.set([])
    try:
        yield _MADE.get()
    finally:
        _MADE.reset(token)


def note(images, labels, augment, **settings):
    """Tells what a stream of training batches is made of; within `noted` alone, for it looks at all pixels.

    Args:
        images: uint8 `(n, height, width, channels)`.
        labels: Array `(n, ...)`, or None.
        augment: As in `make_train_dataset`.
        **settings: What else the batches depend on, for JSON.
    """
    if _MADE.get() is None:
        return
    pixels = np.asarray(images)
    means = [pixels.mean(dtype=np.float64), *(one.mean(dtype=np.float64) for one in pixels[:_FIRST])]
    _MADE.get().append(
        {
            "images": list(pixels.shape),
            "grey levels": [round(float(mean), 2) for mean in means],
            "labels": None if labels is None else _digest(labels),
            "augment": _words(augment),
            **settings,
        }
    )


def of_validation(data):
    """What validation data are, in whatever order they come, a dict for JSON; of what may have no end an empty one.

    Weights of images count as labels do. Images in bfloat16 and texts are not looked at.

    Args:
        data: As in `keras.Model.fit`: arrays, or a `tf.data.Dataset`, all of which is read.
    """
    if isinstance(data, tf.data.Dataset):
        batches = data.as_numpy_iterator() if data.cardinality() >= 0 else ()
    else:
        batches = [tuple(data)] if isinstance(data, tuple | list) else ()
    numbers, labels = [], []
    for batch in batches:
        x, *of_each = keras.utils.unpack_x_y_sample_weight(batch)
        for images in _arrays(x)[:1]:
            numbers += [(one.mean(dtype=np.float64), one.std(dtype=np.float64)) for one in images]
        # A number an image, also of one-hot rows.
        rows = [one.reshape(len(one), -1) for one in _arrays(of_each)]
        labels += [[one @ np.arange(1.0, one.shape[1] + 1) for one in rows]] * bool(rows)
    if not numbers:
        return {}
    means, spreads = np.array(numbers).T
    levels = [*np.quantile(means, np.linspace(0, 1, _FIRST)), spreads.mean()]
    columns = [np.concatenate(parts) for parts in zip(*labels, strict=True)]
    return {
        "validation images": len(means),
        "validation grey levels": [float(f"{level:.6g}") for level in levels],
        "validation labels": [_digest(np.sort(column)) for column in columns],
    }


def _arrays(given):
    arrays = [np.asarray(one) for one in keras.tree.flatten(given)]
    return [one for one in arrays if one.size and one.ndim and one.dtype.kind in "biuf"]


def _digest(labels):
    # Rounded: where they are probabilities, two machines may differ in the last digit.
    values = np.round(np.asarray(labels, np.float64), 3) + 0.0
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


def _words(augment):
    if augment is None or dataclasses.is_dataclass(augment):
        return augment and repr(augment)
    return getattr(augment, "__qualname__", type(augment).__name__)


def other_data(before, now):
    """What differs between two lists of `noted`, its name to both values; nothing is known of what noted nothing."""
    if not before or not now:
        return {}
    if len(before) != len(now):
        return {"number of data sets": (len(before), len(now))}
    return {
        name: (one[name], other[name])
        for one, other in zip(before, now, strict=True)
        for name in one
        if name in other and not _alike(name, one[name], other[name])
    }


def _alike(name, one, other):
    if name.endswith("grey levels"):
        # Pixels of 0 to 255 spread by 50 or so; those of validation are scaled, and their spread is the last number.
        tolerance = _LEVELS if name == "grey levels" else _LEVELS * one[-1] / 50 + 1e-5
        return len(one) == len(other) and np.allclose(one, other, rtol=0, atol=tolerance)
    return one == other


def of_model(model):
    """Numbers and texts in the configuration of a model of this package, by their place; of other models none.

    Those may hold seeds that Keras draws anew in each process.
    """
    if not keras.saving.get_registered_name(type(model)).startswith(_OWN):
        return {}
    return dict(_settings(model.get_config(), ""))


def of_loss(model):
    """Class, numbers and texts of a model's adversarial loss as they are now, a dict for JSON; of other models None."""
    loss = getattr(model, "adversarial_loss", None)
    if not hasattr(loss, "discriminator"):
        return None
    attributes = {}
    for kind in reversed(type(loss).__mro__):  # those of a class too: `gradient_penalty` is one
        attributes |= vars(kind)
    attributes |= vars(loss) | {"gradient_penalty": float(loss.gradient_penalty or 0)}
    plain = {
        name: value.item() if isinstance(value, np.generic) else value for name, value in attributes.items()
    }
    return {"class": type(loss).__name__} | {
        name: value
        for name, value in sorted(plain.items())
        if isinstance(value, str | bool | int | float) and not name.startswith("__")
        # NaN, as something that is not known yet, equals nothing.
        if not isinstance(value, float) or math.isfinite(value)
    }


def _settings(config, place):
    if isinstance(config, dict):
        if not str(config.get("registered_name", _OWN)).startswith(_OWN):
            yield f"{place}.class_name", config.get("class_name")
            return
        for name, value in config.items():
            if name not in _LEFT_OUT:
                yield from _settings(value, f"{place}.{name}" if place else name)
    elif isinstance(config, list | tuple):
        for number, value in enumerate(config):
            yield from _settings(value, f"{place}.{number}")
    elif config is None or isinstance(config, str | bool | int | float):
        yield place, config


def other_model(before, now):
    """Names of what differs between two models' `of_model`, as far as both say it."""
    odd = [name for name in before if name in now and not _close(before[name], now[name])]
    # What is an object for one and None for the other, such as an augmentation, has its parts as names.
    for one, other in ((before, now), (now, before)):
        empty = [name for name, value in one.items() if value is None and name not in other]
        odd += [name for name in empty if any(part.startswith(f"{name}.") for part in other)]
    return odd


def _close(one, other):
    if isinstance(one, float) and isinstance(other, int | float):  # statistics of images, on two machines
        return math.isclose(one, other, rel_tol=1e-4)
    return one == other


def of_trained(model):
    """How many of a model's weights are trained, and a digest of which these are, as a text."""
    trained = set(map(id, model.trainable_weights))
    places = [place for place, one in enumerate(model.weights) if id(one) in trained]
    return f"{len(places)} of {len(model.weights)} ({_digest(places)[:6]})"


def of_regularizers(model):
    """Class, numbers and texts of the regularizers of the weights that are trained, by their place; a dict for JSON."""
    found = enumerate(getattr(one, "regularizer", None) for one in model.trainable_weights)
    return {str(place): _regularizer(one) for place, one in found if one is not None}


def _regularizer(given):
    try:
        config = given.get_config()
    except (AttributeError, NotImplementedError):  # a function, or a class that nobody saves
        config = {}
    plain = {name: value for name, value in config.items() if isinstance(value, str | bool | int | float)}
    return [getattr(given, "__name__", type(given).__name__), plain]


def of_weights(model):
    """The first number of each weight that is trained: enough to tell two beginnings apart."""
    return first_numbers(model.trainable_variables)


def of_fixed(model):
    """The first number of each weight that is not trained, those of a frozen part or moving statistics."""
    return first_numbers(
        one for one in model.non_trainable_weights if keras.backend.is_float_dtype(one.dtype)
    )


def first_numbers(weights):
    """The first number of each of some weights."""
    arrays = [keras.ops.convert_to_numpy(one) for one in weights if one is not None]
    return [float(np.ravel(one)[0]) for one in arrays if one.size]


def same_weights(one, other):
    """Whether two lists of `of_weights` agree as far as two machines do that draw them from one seed."""
    return len(one) == len(other) and np.allclose(one, other, rtol=1e-3, atol=1e-5, equal_nan=True)
