import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import inference, models, serving
from keras_fracture.errors import ModelError, RequestError
from keras_fracture.serving import endpoints
from keras_fracture.serving.served import Served

SMALL = {"image_size": 32, "width": 2, "channels": 1, "num_classes": 3}


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "gan"
    serving.export(models.create("dcgan_generator", **SMALL), folder)
    return Served(folder)


def numbers(**given):
    return {key: np.array(value) for key, value in given.items()}


@pytest.mark.parametrize(("label", "labels"), [(-1, [0, 1, 2]), (2, [2, 2, 2])])
def test_single_numbers_are_made_rows(generator, label, labels):
    asked = generator.run("generate", numbers(n=3, seed=[5], label=label))["images"]
    rows = generator.run("generate", numbers(seed=[5, 5, 5], number=[0, 1, 2], label=labels))["images"]
    assert asked.shape == (3, 32, 32, 1)
    np.testing.assert_array_equal(asked, rows)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (numbers(n=0, seed=0, label=0), "n must lie between 1 and 64. Received: 0"),
        (numbers(n=65, seed=0, label=0), "n must lie between 1 and 64. Received: 65"),
        (numbers(n=[1, 2], seed=0, label=0), r"n must be one number. Received the shape: \(2,\)"),
        (numbers(n=1, seed=0), "generate takes n, seed, label|generate takes seed, n, label"),
        (numbers(n=1, number=[0], seed=0, label=0), "generate takes"),
        (numbers(number=[0], seed=[0, 1], label=[0]), "holds 1 to 64"),
        (numbers(number=np.zeros(65, int), seed=np.zeros(65, int), label=np.zeros(65, int)), "holds 1 to 64"),
    ],
)
def test_what_cannot_be_drawn_is_refused(generator, inputs, message):
    with pytest.raises(RequestError, match=message):
        generator.run("generate", inputs)


def test_models_exported_with_single_numbers_still_answer(tmp_path, monkeypatch):
    def single(draw_fn, model):
        def generate(n, seed, label):
            noise = tf.random.stateless_normal((n, model.latent_dim), tf.stack([seed, 0]), alg="philox")
            return {"images": tf.cast(255 * draw_fn(noise, tf.fill([n], label))["images"], tf.uint8)}

        return generate, [tf.TensorSpec((), tf.int32, name=name) for name in ("n", "seed", "label")]

    monkeypatch.setattr(endpoints, "generate", single)
    serving.export(models.create("dcgan_generator", **SMALL), tmp_path / "old")
    old = Served(tmp_path / "old")
    assert old.run("generate", numbers(n=2, seed=0, label=1))["images"].shape == (2, 32, 32, 1)
    with pytest.raises(RequestError, match="generate takes n, seed, label"):
        old.run("generate", numbers(seed=[0], number=[0], label=[1]))
    assert len(inference.generate(tmp_path / "old", tmp_path / "drawn", 2)) == 2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"resize": "bilinear"}, r"probabilities 0\.\d+ apart"),
        ({"clahe": [2.0, 8]}, "apart"),
        ({"size": 32}, "do not fit"),
    ],
)
def test_metadata_that_prepare_images_otherwise_than_the_saved_model_are_refused(tmp_path, changed, said):
    version = tmp_path / "cnn" / "1"
    shutil.copytree(Path(__file__).parents[2] / "saved_models" / "compact_cnn" / "1", version)
    Served(version.parent)
    facts = json.loads((version / "metadata.json").read_text(encoding="utf-8"))
    (version / "metadata.json").write_text(json.dumps(facts | {"preprocess": facts["preprocess"] | changed}))
    with pytest.raises(ModelError, match=said):
        Served(version.parent)
