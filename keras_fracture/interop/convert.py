"""Weights files from one framework to the other: `keras-fracture convert`."""

import tempfile
import warnings
from pathlib import Path

import h5py
import numpy as np

from keras_fracture import models
from keras_fracture.data import Preprocess
from keras_fracture.errors import ImageError, ModelError, WeightsError
from keras_fracture.interop import reading
from keras_fracture.interop.layout import parameters_of
from keras_fracture.interop.torch import WRITTEN, load_torch_weights, save_torch_weights
from keras_fracture.models.preprocessing import scale
from keras_fracture.training.weights import save_weights

_KERAS = ".weights.h5"
READ = (*reading.ENDINGS, _KERAS)


def convert(weights, model, to, names=None, **overrides):
    """Reads weights into an architecture and writes them in another format, whole or not at all.

    Args:
        weights: `.weights.h5` file, or one that `load_torch_weights` takes.
        model: Name of the architecture.
        to: File to write: `.pth`, `.pt`, `.safetensors` or `.weights.h5`.
        names: Name map, see `load_torch_weights`, which also says what cannot be checked.
        **overrides: Constructor arguments of the architecture, such as `num_classes`.

    Returns:
        The model.

    Raises:
        WeightsError: The file is absent, cannot be read, does not fit, or holds NaN or infinity; or one of
            the endings is unknown.
        OutputError: `to` cannot be written.
    """
    check_endings(weights, to)
    network = load(weights, model, names, **overrides)
    write(network, to, names)
    return network


def check_endings(weights, to):
    """Raises `WeightsError` for an ending that is unknown, before a large model is built for nothing."""
    reading.ending(Path(weights), READ)
    reading.ending(Path(to), (*WRITTEN, _KERAS))


def load(weights, model, names=None, **overrides):
    """An architecture with the weights of a file, in float32 whatever the global dtype policy; as `convert`."""
    reading.ending(Path(weights), READ)
    if not Path(weights).is_file():
        raise WeightsError(f"No such weights file. Received: {weights}")
    network = models.create(model, **{"dtype": "float32"} | overrides)
    load_weights(network, weights, names)
    return network


def load_weights(network, weights, names=None, any_head=False):
    """Loads a file into a built model, see `load_keras_weights` and `load_torch_weights`."""
    if str(weights).endswith(_KERAS):
        load_keras_weights(network, weights, any_head)
    else:
        load_torch_weights(network, weights, names, any_head)


def write(network, to, names=None):
    """Writes a model's weights in the format that the ending of `to` says, whole or not at all."""
    if str(to).endswith(_KERAS):
        save_weights(network, to)
    else:
        save_torch_weights(network, to, names)


def classes_in(weights):
    """How many classes the `fc` of a ResNet, DRN or EfficientNet-Lite in a weights file tells apart; 0 without."""
    if str(weights).endswith(_KERAS):
        shapes = _shapes(weights)
        return next((shape[0] for name, shape in shapes.items() if name == "fc/vars/1"), 0)
    state = reading.read(weights)[1]
    return next((len(value) for name, value in state.items() if name.endswith("fc.bias")), 0)


def logits(network, paths, **settings):
    """What a classifier says of image files, to be held against the framework its weights come from.

    Args:
        network: A classifier of this package.
        paths: Image files, or folders of them.
        **settings: Of `data.Preprocess`; size and channels are the network's.

    Returns:
        A list of (path, float32 logits `(classes,)`).

    Raises:
        ModelError: It is no classifier, or takes images of any size.
        ImageError: There is no image, or one cannot be read.
    """
    top = hasattr(network, "classify") and getattr(network, "include_top", True)
    if not (top and network.image_size):
        raise ModelError(
            "Logits are of classifiers with a top and a fixed image_size. "
            f"Received: {type(network).__name__}, {network.get_config()}"
        )
    shape = {"size": network.image_size, "channels": network.channels}
    preprocess = Preprocess(**shape | settings)
    if shape != {name: getattr(preprocess, name) for name in shape}:
        raise ModelError(f"Size and channels are the model's, {shape}. Received: {preprocess}")
    files = [
        file
        for path in map(Path, paths)
        for file in (sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path])
    ]
    if not files:
        raise ImageError(f"No images to check by. Received: {', '.join(map(str, paths))}")
    results = []
    for file in files:
        try:
            data = file.read_bytes()
        except OSError as error:
            raise ImageError(f"{file} cannot be read: {error.strerror}") from None
        image = scale(preprocess(preprocess.decode(data, str(file)))[None], network.pixel_range)
        results.append((str(file), np.asarray(network(image, training=False))[0]))
    return results


def load_keras_weights(network, path, any_head=False):
    """Loads a `.weights.h5` file that holds just what the model does; Keras passes over what is too much.

    Args:
        network: A built classifier of this package.
        path: The file.
        any_head: Whether the file may be for another number of classes; the head then keeps its weights.

    Raises:
        WeightsError: The file is absent, damaged or no `.weights.h5`, does not fit, or holds NaN or infinity.
            Unless it was damaged the model is then as it was.
    """
    if not str(path).endswith(_KERAS) or not Path(path).is_file():
        raise WeightsError(
            f"Expected an existing {_KERAS} file (see keras-fracture convert). Received: {path}"
        )
    kind = type(network).__name__
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / f"own{_KERAS}"
        network.save_weights(own)
        ours = _shapes(own)
    theirs = _shapes(path)
    classes = (getattr(network, "num_classes", None),)
    heads = set()  # layers that differ in nothing but the number of classes
    for name, shape in ours.items():
        received = theirs.get(name)
        if (
            any_head
            and received
            and received[:-1] == shape[:-1]
            and received != shape
            and shape[-1:] == classes
        ):
            heads.add(name.rpartition("/")[0])
        elif received != shape:
            raise WeightsError(
                f"Does not fit {kind}: the first variable that does not fit is the model's {name} {shape}. "
                f"Received: {theirs.get(name, 'nothing')} in {path}"
            )
    if len(heads) > 1:
        raise WeightsError(f"Does not fit {kind}: {' and '.join(sorted(heads))} differ. Received: {path}")
    layers = {name.partition("/")[0] for name in ours}  # the file may hold an optimizer's state as well
    for name, shape in theirs.items():
        if name not in ours and name.partition("/")[0] in layers and "seed_generator" not in name:
            raise WeightsError(
                f"Does not fit {kind}: {name}, a variable the model lacks. Received: {shape} in {path}"
            )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Keras, that it skips the head
            network.load_weights(path, skip_mismatch=bool(heads))
    except Exception as error:  # whatever the reader trips over in a damaged file
        raise WeightsError(
            f"Damaged, or not Keras weights: {reading.line(error)}. Received: {path}"
        ) from error
    for parameter in parameters_of(network):
        if not np.isfinite(parameter.to_torch()).all():
            raise WeightsError(
                f"{path}: weights must be finite. Received: NaN or infinity in {parameter.name}"
            )


def _shapes(path):
    """Returns the shape of every variable in a .weights.h5 file, by its path there."""
    shapes = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            shapes[name] = item.shape

    try:
        with h5py.File(path) as file:
            file.visititems(visit)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"Damaged, or not Keras weights: {reading.line(error)}. Received: {path}"
        ) from error
    return shapes
