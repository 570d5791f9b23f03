"""Copies and pickles of models, with what Keras leaves out of them."""

import dataclasses

import keras

# Set by `models.load`, in no configuration.
_SAID = ("classes", "finding", "preprocess", "threshold", "pixel_range")


def copied_whole(cls):
    """Class decorator: `copy.deepcopy` and pickle keep what `models.load` says of a model, or of those in it.

    Keras makes both by way of a `.keras` file, which holds none of it. `keras.models.clone_model` makes a model of new
    weights, of which nothing of it holds.
    """
    if hasattr(cls, "__setstate__"):  # decorated already
        return cls
    reduce = cls.__reduce__

    def __reduce__(self):  # noqa: N807
        return *reduce(self), [_said(one) for one in _models(self)]

    def __setstate__(self, said):  # noqa: N807
        for one, values in zip(_models(self), said, strict=True):
            for name, value in values.items():
                setattr(one, name, value)

    cls.__reduce__, cls.__setstate__ = __reduce__, __setstate__
    return cls


def _models(model):
    return [one for one in model._flatten_layers() if isinstance(one, keras.Model)]


def _said(model):
    """Plain values alone: a model of somebody else may call other things by these names."""
    values = {name: vars(model)[name] for name in _SAID if name in vars(model)}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return {name: value for name, value in values.items() if _is_plain(value)}


def _is_plain(value):
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float) or dataclasses.is_dataclass(value)
