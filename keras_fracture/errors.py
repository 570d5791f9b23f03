"""The errors this package raises on purpose: one line, what was received, what to do."""

import difflib
import re


class FractureError(Exception):
    """Base of every error this package raises on purpose. The CLI prints it and exits 2."""


class DataError(FractureError):
    """A data set is absent, laid out differently than published, or not usable as asked."""


class ImageError(DataError):
    """A file is not an image that can be read."""


class ModelError(FractureError, ValueError):
    """An architecture, a setting of one, or its input is not valid."""

    # Keras prepends lines of its own to what is raised in a layer's call, unless they are there already.
    _keras_call_info_injected = True


class WeightsError(FractureError, ValueError):
    """A weights file does not fit the model, or cannot be read safely."""


class TrainingError(FractureError):
    """A training run cannot go on."""


class DistributionError(FractureError):
    """Several devices or machines cannot train together, or one of them was lost."""


class ClusterError(FractureError):
    """Several processes, or a cluster, cannot work together, or were lost."""


class OutputError(FractureError):
    """A result cannot be written."""


class EvaluationError(FractureError):
    """A metric is not defined for what it was given."""


class SynthesisError(FractureError, ValueError):
    """A finding cannot be painted into an image as asked."""


class ServerError(FractureError):
    """A server cannot be started or reached, or does not answer as asked."""


class RequestError(FractureError, ValueError):
    """A request to a served model is not one it can answer."""


def meant(name, known):
    """Words for an error that refuses a name: "Did you mean ...? ", or "" where no known name is like it.

    Args:
        name: What was received.
        known: Names that would have done.
    """
    by_form = {str(one).lower(): one for one in known}
    alike = difflib.get_close_matches(str(name).lower(), by_form, 1)
    return f"Did you mean {by_form[alike[0]]}? " if alike else ""


def one_line(error):
    """What another library's error says, behind its type, in one line of up to 300 characters."""
    text = re.sub(r"\x1b\[\d*m", "", f"{type(error).__name__}: {error}")  # Keras's are partly bold
    return printable(" ".join(text.split())[:300])


def printable(text, but=""):
    """Text as a terminal or log can show it: what moves, colours or overwrites stands there as its escape.

    Args:
        text: What somebody else may have chosen, such as the name of a file.
        but: Characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in but else one.encode("unicode_escape").decode() for one in text
    )
