"""Attributes of a package that are imported on first use: importing TensorFlow takes seconds."""

import importlib
import logging
import os


def on_first_use(package, public, homes=()):
    """`__getattr__` and `__dir__` of a package.

    Args:
        package: Its `__name__`.
        public: Its `__all__`; a name without a home is that of a module of the package.
        homes: A dict of name to the module of the package that defines it.
    """

    def getattr_(name):
        if name not in public:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = dict(homes).get(name)
        module = importlib.import_module(f"{package}.{home or name}")
        return getattr(module, name) if home else module

    return getattr_, lambda: sorted(public)


def import_tensorflow():
    """Imports TensorFlow without the lines its native code prints on stderr before logging can be set.

    A failing import still raises.
    """
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        importlib.import_module("tensorflow")
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)
    # One run builds many small models; that each is traced anew is no news.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
