"""`NAME=VALUE` overrides of a command line as typed values."""

import ast
import typing

from keras_fracture.errors import FractureError, meant

_CHECKED = (bool, int, float, str, tuple)
_WORDS = {"true": True, "false": False, "none": None}  # as JSON and most command lines spell them


def parse(whose, known, overrides):
    """Settings from `NAME=VALUE` overrides.

    Args:
        whose: What the settings are of, for errors.
        known: A dict of name to `(annotation, default)`. An annotation such as `int | None` says what a value may be,
            otherwise the default does; a tuple's first element says what all are.
        overrides: Such as "image_size=112", "policies=paper,grouped" or "stages=((4, True), (8, False))".

    Returns:
        A dict of name to value.

    Raises:
        FractureError: No such setting, a value of another type, or two values of one setting.
    """
    values = {}
    for text in overrides:
        name, mark, value = text.partition("=")
        if name not in known or not mark:
            raise FractureError(
                f"A setting of {whose} is NAME=VALUE, with a name of {', '.join(known)}. "
                f"{'' if name in known else meant(name, known)}Received: {text!r}"
            )
        value = _value(f"{name} of {whose}", *known[name], value)
        refuse_two(whose, name, values.get(name, value), value)
        values[name] = value
    return values


def refuse_two(whose, name, first, second):
    """Refuses two values of one setting, unless they are equal.

    Raises:
        FractureError: They differ.
    """
    if first != second:
        raise FractureError(
            f"{name} of {whose} is given twice: leave one out. Received: {first!r:.80} and {second!r:.80}"
        )


def _value(what, annotation, default, text):
    kinds = set(typing.get_args(annotation)) or {type(default)}
    words = {word: meaning for word, meaning in _WORDS.items() if type(meaning) in kinds}
    whole = words[text.lower()] if text.lower() in words else _literal(text)
    if whole is None and type(None) in kinds:
        return None
    kinds -= {type(None)}
    listed = isinstance(whole, tuple | list)
    if tuple not in kinds or not (listed or kinds == {tuple}):
        return _checked(what, kinds - {tuple} if len(kinds) > 1 else kinds, whole, text)
    parts = whole if listed else [_literal(part) for part in text.split(",")]
    kinds = {type(default[0])} if isinstance(default, tuple) and default else kinds - {tuple}
    return tuple(_checked(what, kinds, part, text) for part in parts)


def _checked(what, kinds, value, text):
    """A value of one of the types; anything where none of them is one that a text can be held against."""
    if float in kinds and type(value) is int:
        return float(value)
    if kinds & set(_CHECKED) and type(value) not in kinds:
        names = " or ".join(sorted(kind.__name__ for kind in kinds))
        raise FractureError(f"{what} is a {names}. Received: {text!r}")
    return value


def _literal(text):
    """A number, True, False, None or a tuple of these where the text is one; else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
