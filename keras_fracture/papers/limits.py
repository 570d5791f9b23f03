"""What the settings of a recipe may be: numbers that count, rates and shares, checked before anything is done."""

import dataclasses
import math
import typing
from numbers import Integral, Real

from keras_fracture.errors import FractureError

_ALSO_ZERO = {
    "seed",
    "weight_decay",
    "warmup",
    "gamma",
    "smoothing",
    "threshold",
    "thresholds",
}  # 0 is the first, or is off
_SHARES = {
    "ema",
    "gan_ema",
    "passing",
    "shares",
    "smoothing",
    "threshold",
    "thresholds",
    "unit_ema",
    "warmup",
}


def check(recipe):
    """Refuses settings that no run could mean.

    Whole numbers must be 1 or more, others above 0, except where 0 says something; shares at most 1. Tuples must not
    be empty. A setting may be None where its annotation or its default says so.

    Args:
        recipe: A dataclass instance with a `key`.

    Raises:
        FractureError: A setting has another type than its own, is not finite, or is out of its range.
    """
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        kinds = set(typing.get_args(field.type)) or {field.type}
        if value is None and (type(None) in kinds or field.default is None):
            continue
        what = f"{field.name} of {recipe.key}"
        kinds -= {type(None)}
        if kinds == {tuple}:
            _check_tuple(what, field, value)
        else:
            _check_one(what, field.name, kinds, value)


def _check_tuple(what, field, value):
    if not isinstance(value, tuple) or not value:
        raise FractureError(f"{what} must hold one value or more. Received: {value!r}")
    kinds = {type(one) for one in field.default or value}
    for one in value:
        _check_one(f"Each of {what}", field.name, kinds, one)


def _check_one(what, name, kinds, value):
    if kinds not in ({int}, {float}):
        if not isinstance(value, tuple(kinds)):
            raise FractureError(f"{what} must be a {_words(kinds)}. Received: {value!r}")
        return
    wanted = Integral if kinds == {int} else Real
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise FractureError(f"{what} must be a {_words(kinds)}. Received: {value!r}")
    least = 0 if name in _ALSO_ZERO or kinds == {float} else 1
    open_end = kinds == {float} and name not in _ALSO_ZERO
    fits = math.isfinite(value) and (value > least if open_end else value >= least)
    if not fits or (name in _SHARES and value > 1):
        low = "above 0" if open_end else f"{least} or more"
        raise FractureError(
            f"{what} must be {low}{' and at most 1' if name in _SHARES else ''}. Received: {value!r}"
        )


def _words(kinds):
    names = {int: "whole number", float: "number", str: "text", bool: "truth value, True or False"}
    return " or ".join(sorted(names.get(kind, kind.__name__) for kind in kinds))
