"""Architectures need Keras alone: TensorFlow is imported for single kernels, and not on other backends."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_fracture import models

SOURCES = sorted(Path(models.__file__).parent.glob("*.py"))
NETWORKS = {
    "compact_cnn": {"image_size": 32},
    "resnet18": {"image_size": 32, "width": 4},
    "drn_d_22": {"image_size": 32, "widths": (4,) * 8, "depths": (1,) * 8},
    "efficientnet_lite0": {
        "image_size": 32,
        "stem_width": 4,
        "head_width": 8,
        "stages": ((3, 1, 1, 4, 1), (5, 2, 2, 8, 2)),
    },
    "inception_net": {"image_size": 32, "stem_width": 4, "stages": ((4, True),)},
    "dcgan_generator": {"image_size": 32, "width": 2},
    "dcgan_discriminator": {"image_size": 32, "width": 2},
    "dense_gan_generator": {"image_size": 32, "width": 0.125},
    "dense_gan_discriminator": {"image_size": 32, "width": 0.125},
    "unit": {"image_size": 16, "width": 2},
}


def outputs(networks):
    """Outputs of each network for the same inputs and weights, whatever the backend."""
    from keras import ops

    results = {}
    for name, arguments in networks.items():
        rng = np.random.default_rng(5)
        model = models.create(name, **arguments)
        # Positive, since some are variances.
        model.set_weights([rng.uniform(0.01, 0.1, weight.shape) for weight in model.weights])
        generator = hasattr(model, "latent_dim")
        shape = (
            (2, model.latent_dim) if generator else (2, model.image_size, model.image_size, model.channels)
        )
        inputs = rng.random(shape).astype("float32")
        results[name] = ops.convert_to_numpy(model(inputs, training=False)).tolist()
    return results


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_module_imports_tensorflow(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        modules = [alias.name for alias in getattr(node, "names", [])] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not any(module.split(".")[0] == "tensorflow" for module in modules), ast.unparse(node)


def test_outputs_on_pytorch_equal_those_on_tensorflow():
    pytest.importorskip("torch")
    program = (
        "import json, sys\n"
        "from tests.models.test_backends import NETWORKS, outputs\n"
        "results = outputs(NETWORKS)\n"
        "print(json.dumps([results, 'tensorflow' in sys.modules]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"KERAS_BACKEND": "torch"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    on_torch, tensorflow_imported = json.loads(done.stdout.splitlines()[-1])
    assert not tensorflow_imported
    for name, values in outputs(NETWORKS).items():
        np.testing.assert_allclose(on_torch[name], values, rtol=1e-3, atol=1e-5, err_msg=name)
