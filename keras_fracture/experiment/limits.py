"""What the settings of an experiment may be: counts, rates and shares, checked before anything is done."""

import dataclasses
import math
import typing
from numbers import Integral, Real

from keras_fracture.errors import FractureError


class _Bounds(typing.NamedTuple):
    may_be_zero: bool
    share: bool


def check(config):
    """Refuses settings that no run could mean.

    Whole numbers must be 1 or more, others above 0, except those that the configuration lists in `MAY_BE_ZERO`; those
    in `SHARES` at most 1. Tuples must not be empty. A setting may be None where its annotation or its default says so.

    Args:
        config: An `experiment.config.Config`.

    Raises:
        FractureError: A setting has another type than its own, is not finite, or is out of its range.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        kinds = set(typing.get_args(field.type)) or {field.type}
        if value is None and (type(None) in kinds or field.default is None):
            continue
        what = f"{field.name} of {config.key}"
        kinds -= {type(None)}
        bounds = _Bounds(field.name in config.MAY_BE_ZERO, field.name in config.SHARES)
        if kinds == {tuple}:
            _check_tuple(what, field, value, bounds)
        else:
            _check_one(what, kinds, value, bounds)


def _check_tuple(what, field, value, bounds):
    if not isinstance(value, tuple) or not value:
        raise FractureError(f"{what} must hold one value or more. Received: {value!r}")
    kinds = {type(one) for one in field.default or value}
    for one in value:
        _check_one(f"Each of {what}", kinds, one, bounds)


def _check_one(what, kinds, value, bounds):
    if kinds not in ({int}, {float}):
        if not isinstance(value, tuple(kinds)):
            raise FractureError(f"{what} must be a {_words(kinds)}. Received: {value!r}")
        return
    wanted = Integral if kinds == {int} else Real
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise FractureError(f"{what} must be a {_words(kinds)}. Received: {value!r}")
    least = 0 if bounds.may_be_zero or kinds == {float} else 1
    open_end = kinds == {float} and not bounds.may_be_zero
    fits = math.isfinite(value) and (value > least if open_end else value >= least)
    if not fits or (bounds.share and value > 1):
        low = "above 0" if open_end else f"{least} or more"
        raise FractureError(
            f"{what} must be {low}{' and at most 1' if bounds.share else ''}. Received: {value!r}"
        )


def _words(kinds):
    names = {int: "whole number", float: "number", str: "text", bool: "truth value, True or False"}
    return " or ".join(sorted(names.get(kind, kind.__name__) for kind in kinds))
