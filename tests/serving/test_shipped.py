"""The trained models that come with the project."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from keras_fracture import models
from keras_fracture.data import decoding
from keras_fracture.inference.predicting import Classifier
from keras_fracture.models.preprocessing import scale
from keras_fracture.serving import card, releasing
from keras_fracture.serving.metadata import facts_of, preparation
from tests.serving import batching
from tests.serving.asking import saved

FOLDER = Path(__file__).parents[2] / "saved_models"
CLASSIFIERS = (
    "compact_cnn",
    "efficientnet_lite0_ensemble",
    "efficientnet_lite0_fracatlas",
    "efficientnet_lite0_studies",
    "inception_net",
    "resnet18_fracatlas",
)
GENERATORS = ("dcgan_generator", "dcgan_phantom")
TRANSLATORS = ("unit_phantom",)
NAMES = sorted((*CLASSIFIERS, *GENERATORS, *TRANSLATORS))


def test_they_are_small():
    assert sorted(path.parent.name for path in FOLDER.glob("*/1")) == NAMES
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 110e6, (
        "nearly half of it the ensemble"
    )


@pytest.mark.parametrize("name", NAMES)
def test_each_says_where_it_comes_from(name):
    text = (FOLDER / name / "1" / "metadata.json").read_text(encoding="utf-8")
    facts, page = json.loads(text), (FOLDER / name / "1" / "model_card.md").read_text(encoding="utf-8")
    made_by = (
        "python scripts/train_translator.py RUN " if name in TRANSLATORS else "keras-fracture reproduce "
    )
    assert facts["command"].startswith(made_by) and "/" not in facts["command"].removeprefix(made_by)
    assert facts["not_for_clinical_use"] and facts["date"] and facts["trained_on"] and facts["metrics"]
    for words in (facts["command"], facts["trained_on"], "**Not for clinical use**"):
        assert words in page
    assert card.text(name, facts) == page, "what is exported from it says the same"
    assert "Licence of these images: " in page and (card.SAMPLES in page) == (name not in CLASSIFIERS)
    if name in CLASSIFIERS:
        policy = "studies" if name.endswith("_studies") else "grouped"
        source = "a study" if policy == "studies" else "an X-ray"
        assert f"fracatlas, split policy `{policy}`" in facts["trained_on"]
        assert f"0 test images show {source} " in facts["trained_on"]
        auc = facts["metrics"]["auc"]
        assert 0.5 < auc["low"] < auc["value"] < auc["high"] < 1, "worth serving: better than a coin"
        entry = json.loads((FOLDER.parent / "results" / "board" / f"{name}.json").read_text(encoding="utf-8"))
        assert auc["value"] == pytest.approx(entry["metrics"]["auc"]["value"], abs=1e-6), (
            "of the model itself"
        )


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_bytes_and_the_loaded_model_agree(name, radiographs):
    model = models.load(name)
    preprocess, pixel_range = preparation(FOLDER / name / "1")
    prepared = np.stack([preprocess(image) for image in radiographs])
    logits = model(scale(prepared, pixel_range), training=False)
    expected = tf.sigmoid(logits) if model.num_classes == 1 else tf.nn.softmax(logits)
    probabilities = Classifier(FOLDER / name).predict([saved(image, "PNG") for image in radiographs])
    np.testing.assert_allclose(probabilities, expected, atol=0.002)
    signature = tf.saved_model.load(str(FOLDER / name / "1")).signatures["serving_default"]
    given = signature(images=tf.constant(scale(prepared, pixel_range)))["probabilities"]
    np.testing.assert_allclose(given, expected, atol=1e-5)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_each_reads_small_palettes_as_training_does(name, radiographs):
    """By itself, as behind TensorFlow Serving, where nothing refuses them."""
    grey = Image.fromarray(radiographs[0] // 16 * 17)
    file = io.BytesIO()
    grey.quantize(16).save(file, "PNG", bits=4)
    assert file.getvalue()[24:26] == b"\x04\x03", "four bits, a palette"
    preprocess, pixel_range = preparation(FOLDER / name / "1")
    prepared = scale(preprocess(decoding.decode(file.getvalue()).image)[None], pixel_range)
    signatures = tf.saved_model.load(str(FOLDER / name / "1")).signatures
    expected = signatures["serving_default"](images=tf.constant(prepared))["probabilities"]
    given = signatures["serve_bytes"](bytes=tf.constant([file.getvalue()]))["probabilities"]
    np.testing.assert_allclose(given, expected, atol=0.002)


def test_one_is_loaded_where_no_network_was_imported_before():
    program = f"from keras_fracture.serving.loading import load; load({str(FOLDER / 'compact_cnn')!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]


@pytest.mark.parametrize("name", GENERATORS)
def test_the_loaded_generator_draws_what_its_saved_model_does(name):
    model = models.load(name)
    noise, labels = (
        np.random.default_rng(0).standard_normal((2, model.latent_dim), "float32"),
        np.array([0, 1]),
    )
    signature = tf.saved_model.load(str(FOLDER / name / "1")).signatures["serving_default"]
    drawn = signature(noise=tf.constant(noise), labels=tf.constant(labels, tf.int32))["images"]
    np.testing.assert_allclose(model(noise, labels, training=False), drawn, atol=1e-5)


def test_a_generator_that_is_exported_anew_keeps_its_licence_and_what_it_shows(tmp_path):
    version, anew = FOLDER / "dcgan_phantom" / "1", releasing.release("dcgan_phantom", tmp_path / "gan", 2)
    for fact in ("licence", "samples"):
        assert facts_of(anew)[fact] == facts_of(version)[fact]
    assert f"]({card.SAMPLES})" in (anew / "model_card.md").read_text(encoding="utf-8")
    assert (anew / card.SAMPLES).read_bytes() == (version / card.SAMPLES).read_bytes()


@pytest.mark.parametrize("name", TRANSLATORS)
def test_a_translator_paints_something_into_the_bone_and_leaves_the_rest(name, radiographs):
    model = models.load(name)
    patches = np.stack([decoding.fit_and_pad(image, model.image_size) for image in radiographs])[..., None]
    given = scale(patches, model.pixel_range)
    signature = tf.saved_model.load(str(FOLDER / name / "1")).signatures["serving_default"]
    made = model(given, training=False)
    np.testing.assert_allclose(signature(images=tf.constant(given))["images"], made, atol=1e-4)
    apart = np.abs(np.asarray(made) - given)
    assert 0.05 < apart.mean() < 0.3, "another image altogether, or the same"


ALIKE = (
    "efficientnet_lite0_ensemble",
    "efficientnet_lite0_studies",
)  # graphs of an architecture that is looked at


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in ALIKE else name for name in NAMES]
)
def test_tensorflow_serving_can_answer_each_in_batches(name):
    version = FOLDER / name / "1"
    assert batching.check(version) == json.loads((version / "metadata.json").read_text())["warm_up_requests"]


@pytest.mark.parametrize("name", NAMES)
def test_each_is_laid_out_as_tensorflow_serving_wants_it(name):
    """What it looks for at start: numbered versions, the tag `serve`, inputs of rows alone, warm-up requests."""
    assert [path.name for path in (FOLDER / name).iterdir()] == ["1"]
    version = FOLDER / name / "1"
    (graph,) = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes()).meta_graphs
    assert list(graph.meta_info_def.tags) == ["serve"]
    signatures = {key: each for key, each in graph.signature_def.items() if not key.startswith("__")}
    for signature in signatures.values():
        assert signature.method_name == "tensorflow/serving/predict"
        for tensor in (*signature.inputs.values(), *signature.outputs.values()):
            assert not tensor.tensor_shape.unknown_rank
            first, *others = (dim.size for dim in tensor.tensor_shape.dim)
            assert first == -1 and -1 not in others, "rows are joined, and nothing is padded"
    (file,) = (version / "assets.extra").iterdir()
    assert file.name == "tf_serving_warmup_requests"
    records = [PredictionLog.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(file))]
    assert len(signatures) == len(records) <= 1000
    for record in records:
        assert record.WhichOneof("log_type") == "predict_log"
        request = record.predict_log.request
        assert request.model_spec.name == name
        wanted = signatures[request.model_spec.signature_name].inputs
        assert {key: each.dtype for key, each in request.inputs.items()} == {
            key: each.dtype for key, each in wanted.items()
        }


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_draws_different_images(name):
    endpoint = tf.saved_model.load(str(FOLDER / name / "1")).signatures["generate"]
    images = endpoint(seed=tf.fill([8], 0), number=tf.range(8), label=tf.fill([8], -1))["images"].numpy()
    assert images.dtype == np.uint8 and images.shape[0] == 8
    assert images.astype(float).std(axis=0).mean() > 10, "one image eight times"


def test_the_generator_that_comes_with_the_wheel_draws_findings_of_images_that_may_be_passed_on():
    facts = json.loads((FOLDER / "dcgan_phantom" / "1" / "metadata.json").read_text(encoding="utf-8"))
    assert facts["licence"].startswith("Apache-2.0")
    model = models.load("dcgan_phantom")
    noise = np.random.default_rng(0).standard_normal((64, model.latent_dim), "float32")
    healthy, finding = (np.asarray(model(noise, np.full(64, label), training=False)) for label in (0, 1))
    assert np.abs(healthy - finding).mean() > 0.02, "the class changes the image"
