"""Attributes of a package that are imported on first use: importing TensorFlow takes seconds."""

import importlib


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
