"""How the parameters of a model are called in other people's files."""

import re

from keras_fracture.errors import WeightsError
from keras_fracture.models import DRN, UNIT, DCGANDiscriminator, DCGANGenerator, EfficientNetLite, ResNet

NOTHING = r"(?!)"  # matches no name
_DEEPEST = 100  # dots in a name

# Each canonical name map: the classes it is for, and what a file may hold beyond their parameters.
NAME_MAPS = {
    "torchvision_resnet": (ResNet, NOTHING),
    # DRN-C-58's unused projection: see models/drn.py.
    "dcgan": ((DCGANGenerator, DCGANDiscriminator), NOTHING),  # of pytorch/examples
    "drn": ((DRN, ResNet), r"layer[78]\.\d+\.downsample\."),
    "efficientnet_lite": (EfficientNetLite, NOTHING),  # of efficientnet_lite_pytorch
    "munit": (UNIT, NOTHING),  # of UNIT's authors: one file, {"a": ..., "b": ...}
}
_MUNIT_CONV = {5: 2, 9: 4, 12: 5}  # a decoder's layers here: the blocks they are in there
_MUNIT_NORM = {6: 2, 10: 4}
_MUNIT_WORDS = {"weight": "gamma", "bias": "beta"}


def spare(model):
    """A pattern of what a file may hold that the model does not use: also its head, if the model has none."""
    rules = [rule for classes, rule in NAME_MAPS.values() if isinstance(model, classes)]
    rules += [r"fc\."] if getattr(model, "include_top", True) is False else []
    return re.compile("|".join(rules) or NOTHING)


def renamed(model, parameters, names):
    """Returns the PyTorch name of every parameter under a name map.

    Args:
        model: The model.
        parameters: Its `layout.Parameter`s.
        names: As for `torch.load_torch_weights`.

    Raises:
        WeightsError: No such name map, or it is not for this model, or lacks a parameter.
    """
    own = [parameter.name for parameter in parameters]
    if names is None:
        return own
    if isinstance(names, str):
        if names not in NAME_MAPS:
            raise WeightsError(f"names must be a dict or one of {', '.join(NAME_MAPS)}. Received: {names!r}")
        if not isinstance(model, NAME_MAPS[names][0]) or (names == "munit" and model.preset != "munit"):
            kind = f"{type(model).__name__}{', preset ' + model.preset if isinstance(model, UNIT) else ''}"
            raise WeightsError(f"The name map {names!r} is not for this model. Received: {kind}")
        rename = {"munit": _munit, "efficientnet_lite": _efficientnet_lite}.get(names, str)
        return [rename(name) for name in own]
    torch_names = []
    for name in own:
        layer, _, word = name.rpartition(".")
        if name not in names and layer not in names:
            raise WeightsError(f"names has no entry for {name} or its layer. Received: {len(names)} entries")
        torch_names.append(names[name] if name in names else f"{names[layer]}.{word}")
    if len(set(torch_names)) < len(torch_names):
        twice = next(name for name in torch_names if torch_names.count(name) > 1)
        raise WeightsError(f"names must lead to distinct parameters. Received: {twice} twice")
    return torch_names


def _munit(name):
    """`encoder_a.3.weight` as `a.enc.model.1.conv.weight`, and so on."""
    part, index, *inner, word = name.split(".")
    index, (part, _, domain) = int(index), part.partition("_")
    encoder = part == "encoder"
    if inner:  # of a residual block: "inner", and the index of a convolution
        group, block = (3, index - 9) if encoder else (0, index)
        layer = f"model.{group}.model.{block}.model.{int(inner[1]) // 3}.conv"
    elif encoder:
        layer = f"model.{index // 3}.conv"
    elif index in _MUNIT_NORM:
        layer, word = f"model.{_MUNIT_NORM[index]}.norm", _MUNIT_WORDS[word]
    else:
        layer = f"model.{_MUNIT_CONV[index]}.conv"
    return f"{domain}.{'enc' if encoder else 'dec'}.{layer}.{word}"


def _efficientnet_lite(name):
    """`blocks.0.bn1.weight` as `_blocks.0._bn1.weight`, and so on."""
    *path, word = name.split(".")
    return ".".join([*(part if part.isdigit() else f"_{part}" for part in path), word])


def without_prefix(state, wanted):
    """Parameters without what wrappers (DataParallel, Lightning, torch.compile) put before all names.

    Where several things lie in one state dict, such as a loss's weights beside the network, it is the one under whose
    name all that is wanted is found; nothing is taken where another has any of these names, too.

    Args:
        state: A dict by name.
        wanted: The names to arrive at.

    Returns:
        `state` by shorter names, one of which is wanted; `state` itself where none would be.
    """
    known, parts = set(wanted), {}
    if known & set(state) or any(not name or name.count(".") > _DEEPEST for name in state):
        return state
    for name, value in state.items():
        first, _, rest = name.partition(".")
        parts.setdefault(first, {})[rest] = value
    shorter = [without_prefix(part, wanted) for part in parts.values()]
    if len(parts) == 1:
        found = [one for one in shorter if known & set(one) and "" not in one]
    else:  # another with some of the names may be the one that is meant
        found = [one for one in shorter if known & set(one)]
        found *= len(found) == 1 and known <= set(found[0])
    return found[0] if len(found) == 1 else state
