"""Checks of numbers that count something: whole and large enough."""

from numbers import Integral


def check_whole(error, **values):
    """Raises `error` unless each value is a whole number, and at least what stands beside it.

    Args:
        error: A class of `errors`.
        **values: Pairs of a value and the least that it may be, or None, by the name that the error has for it.
    """
    for name, (value, least) in values.items():
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not whole or (least is not None and value < least):
            wanted = "" if least is None else f", {least} or more"
            raise error(f"{name} must be a whole number{wanted}. Received: {value!r:.80}")
