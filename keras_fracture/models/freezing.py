"""Frozen models and layers that are frozen again when their configuration builds them."""

import functools


def frozen_whole(layer):
    """Freezes all in a layer that is frozen itself: Keras freezes what a layer has when it is told, not what comes."""
    if not layer.trainable:
        layer.trainable = True  # where the value is the old one, nothing is told
        layer.trainable = False


def keeps_frozen(cls):
    """Class decorator: a model that a configuration builds is frozen where the one it was taken from is.

    Where only parts are, the configuration names them, as `frozen`. A model in it that keeps its own does so itself.
    """
    if hasattr(cls, "keeps_frozen"):  # decorated already
        return cls
    get_config, from_config = cls.get_config, cls.from_config.__func__

    @functools.wraps(get_config)
    def get_config_with_frozen(self):
        parts = list(_parts(self))
        if len({self.trainable, *(one.trainable for _, one in parts)}) == 1:  # `trainable` says it
            return get_config(self)
        return get_config(self) | {"frozen": [path for path, one in parts if not one.trainable]}

    @functools.wraps(from_config)
    def from_config_with_frozen(kind, config, **kwargs):
        frozen = config.get("frozen")
        model = from_config(kind, {name: config[name] for name in config if name != "frozen"}, **kwargs)
        frozen_whole(model)
        for path, one in _parts(model) if frozen is not None else ():
            one.trainable = path not in frozen
        return model

    cls.get_config, cls.from_config = get_config_with_frozen, classmethod(from_config_with_frozen)
    cls.keeps_frozen = True
    return cls


def _parts(layer, above=""):
    """Paths and layers of all weights in a layer, a layer before those that are in it."""
    for one in layer._layers:
        if one.weights and not hasattr(one, "keeps_frozen"):
            yield f"{above}{one.name}", one
            yield from _parts(one, f"{above}{one.name}/")
