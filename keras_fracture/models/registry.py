"""The one table of architectures: a name, the class that builds it, and the arguments that name means."""

import functools

from keras_fracture.errors import FractureError, ModelError, one_line

_BUILDERS = {}


def register(name, **defaults):
    """Class decorator: `models.create(name, **overrides)` builds the class with `defaults | overrides`.

    Several names may share a class (`resnet18`, `resnet34`); apply the decorator once for each.
    """

    def decorate(cls):
        _BUILDERS[name] = functools.partial(cls, **defaults)
        return cls

    return decorate


def names():
    """Returns the names `create` accepts, sorted."""
    return sorted(_BUILDERS)


def create(name, **overrides):
    """Builds an architecture by name.

    Args:
        name: One of `names()`.
        **overrides: Constructor arguments of that architecture, over the values the name stands for.

    Returns:
        A built `keras.Model` (its weights exist).

    Raises:
        ModelError: No such name, or the constructor does not take these arguments.
    """
    if name not in _BUILDERS:
        raise ModelError(f"No such model. Choose one of {', '.join(names())}. Received: {name!r}")
    try:
        return _BUILDERS[name](**overrides)
    except FractureError:
        raise
    except (TypeError, ValueError) as error:
        raise ModelError(f"{name} cannot be built so: {one_line(error)}. Received: {overrides}") from error
