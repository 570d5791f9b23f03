"""Weights files from one framework to the other: `keras-fracture convert`."""

from pathlib import Path

from keras_fracture import files, models
from keras_fracture.errors import WeightsError
from keras_fracture.interop.torch import load_torch_weights, save_torch_weights

_KERAS = ".weights.h5"


def convert(weights, model, to, names=None, **overrides):
    """Reads weights into an architecture and writes them in another format.

    Args:
        weights: `.pth`, `.pt`, `.safetensors` or `.weights.h5` file.
        model: Name of the architecture.
        to: File to write, with one of the same endings.
        names: Name map, see `load_torch_weights`.
        **overrides: Constructor arguments of the architecture, such as `num_classes`.

    Returns:
        The model.

    Raises:
        WeightsError: The file cannot be read or does not fit.
    """
    network = models.create(model, **overrides)
    if str(weights).endswith(_KERAS):
        try:
            network.load_weights(weights)
        except (OSError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise WeightsError(f"{weights} does not fit {model}: {reason}") from error
    else:
        load_torch_weights(network, weights, names)
    if str(to).endswith(_KERAS):
        with files.writing(to) as beside:
            # Keras insists on the ending.
            named = Path(str(beside) + _KERAS)
            network.save_weights(named)
            named.replace(beside)
    else:
        save_torch_weights(network, to, names)
    return network
