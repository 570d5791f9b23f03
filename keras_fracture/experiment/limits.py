"""What the settings of an experiment may be: counts, rates and shares, checked before anything is done."""

import dataclasses
import math
import re
import typing
from numbers import Integral, Real

from keras_fracture.errors import FractureError

_NAME = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*)?")
_REPEATED = ("shares", "widths")  # whose values may be equal: elsewhere each is one more row of results
_CHANNELS = ("channels", "gan_channels")  # of images: grey or in colours
_AVERAGES = ("ema", "gan_ema", "modern_ema", "unit_ema")  # at a decay of 1 they would stay where they begin
_MOST = 1_000_000  # of what is counted and has no limit of its own


class _Bounds(typing.NamedTuple):
    may_be_zero: bool
    most: float


def check(config):
    """Refuses settings that no run could mean.

    Whole numbers must be 1 or more, others above 0, except those that the configuration lists in `MAY_BE_ZERO`; those
    in `SHARES` at most 1, those in `MOST` what it says, and other whole numbers at most a million. Images have 1 or 3
    channels, and an average's decay is below 1. Texts are names, but those in `WORDS`. Tuples must not be empty, nor
    hold a value twice. A setting may be None where its annotation or its default says so.

    Args:
        config: An `experiment.config.Config`.

    Raises:
        FractureError: A setting has another type than its own, is not finite, or is out of its range.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        kinds = set(typing.get_args(field.type)) or {field.type}
        if value is None and may_be_none(field):
            continue
        what = f"{field.name} of {config.key}"
        kinds -= {type(None)}
        most = 1 if field.name in config.SHARES else config.MOST.get(field.name, _MOST)
        bounds = _Bounds(field.name in config.MAY_BE_ZERO, most)
        if kinds == {tuple}:
            _check_tuple(what, field, value, bounds)
        else:
            _check_one(what, kinds, value, bounds)
        if field.name in _CHANNELS and value == 2:
            raise FractureError(f"{what} must be 1 or 3, grey or in colours. Received: 2")
        if field.name in _AVERAGES and value == 1:
            raise FractureError(f"{what} must be below 1, else the average never moves. Received: {value!r}")
        if field.name not in config.WORDS:
            _check_names(what, value)
    variant = getattr(config, "variant", None)
    if variant is not None and variant not in config.VARIANTS:
        raise FractureError(
            f"variant of {config.key} must be one of {', '.join(config.VARIANTS)}. Received: {variant!r}"
        )


def may_be_none(field):
    """Whether a setting, one of `dataclasses.fields`, may be None."""
    return field.default is None or type(None) in typing.get_args(field.type)


def _check_tuple(what, field, value, bounds):
    if not isinstance(value, tuple) or not value:
        raise FractureError(f"{what} must hold one value or more. Received: {value!r}")
    kinds = {type(one) for one in field.default or value} & {int, float, str} or {str}
    for one in value:
        _check_one(f"Each of {what}", kinds, one, bounds)
    if field.name not in _REPEATED and len(set(value)) < len(value):
        raise FractureError(f"{what} must hold each value once. Received: {value!r:.200}")


def _check_names(what, value):
    """They become parts of paths, and of tables."""
    for one in value if isinstance(value, tuple) else (value,):
        if isinstance(one, str) and not _NAME.fullmatch(one):
            raise FractureError(
                f"{what} must be a name of letters, digits, ., _ and -. Received: {one!r:.80}"
            )


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
    if not fits or value > bounds.most:
        low = "above 0" if open_end else f"{least} or more"
        high = f" and at most {bounds.most:,}" if fits or bounds.most == 1 else ""
        raise FractureError(f"{what} must be {low}{high}. Received: {value!r:.80}")


def _words(kinds):
    names = {int: "whole number", float: "number", str: "text", bool: "truth value, True or False"}
    return " or ".join(sorted(names.get(kind, kind.__name__) for kind in kinds))
