import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_fracture import cli, models, serving, synthesis
from keras_fracture.data import Preprocess, phantom
from keras_fracture.errors import ModelError
from keras_fracture.models.preprocessing import unscale
from keras_fracture.serving import releasing
from keras_fracture.serving.card import text
from keras_fracture.serving.metadata import facts_of
from tests.serving import batching
from tests.serving.asking import saved

TINY = {
    "compact_cnn": {"image_size": 32},
    "dense_gan_generator": {"width": 1 / 32, "channels": 1},
    "dense_gan_discriminator": {"width": 1 / 32, "channels": 1},
    "dcgan_generator": {"image_size": 32, "width": 2, "channels": 1},
    "dcgan_discriminator": {"image_size": 32, "width": 2, "channels": 1},
    "efficientnet_lite0": {
        "image_size": 32,
        "stem_width": 4,
        "head_width": 8,
        "stages": ((3, 1, 1, 4, 1), (5, 2, 2, 8, 2)),
    },
    "inception_net": {"image_size": 32, "stem_width": 4, "stages": ((4, True), (8, False))},
    "resnet18": {"image_size": 32, "width": 4},
    "resnet50": {"image_size": 32, "width": 4},
    "drn_a_50": {"image_size": 32, "width": 4},
    "drn_c_26": {"image_size": 32, "widths": (4,) * 8},
    "drn_d_22": {"image_size": 32, "widths": (4,) * 8},
    "unit": {"image_size": 16, "width": 2, "channels": 1},
    "unit_discriminator": {"image_size": 16, "width": 2, "channels": 1},
}


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    model = models.create("dcgan_generator", image_size=32, width=2, channels=1, num_classes=3)
    version = serving.export(model, tmp_path_factory.mktemp("endpoints") / "gan")
    return model, version, tf.saved_model.load(str(version))


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    model = models.create("unit", image_size=16, width=4, channels=1)
    # As they are initialised, translated patches are nearly even grey.
    model.set_weights([3 * weight for weight in model.get_weights()])
    version = serving.export(model, tmp_path_factory.mktemp("endpoints") / "unit", exponent=1.5)
    return model, version, tf.saved_model.load(str(version))


def drawn(loaded, n, seed, label=-1, first=0):
    rows = {"seed": tf.fill([n], seed), "number": first + tf.range(n), "label": tf.fill([n], label)}
    return loaded.signatures["generate"](**rows)["images"].numpy()


def test_generate_draws_the_same_image_for_a_seed_and_place(generator):
    _, _, loaded = generator
    few, many, other = drawn(loaded, 2, 7), drawn(loaded, 64, 7), drawn(loaded, 2, 8)
    assert many.shape == (64, 32, 32, 1) and many.dtype == np.uint8
    np.testing.assert_allclose(few.astype(int), many[:2], atol=1)
    assert (few != other).any()
    assert len({image.tobytes() for image in many}) == 64


def test_generate_draws_what_the_model_makes_of_its_noise(generator):
    model, _, loaded = generator
    noise = np.stack([tf.random.stateless_normal((100,), (5, number), alg="philox") for number in range(3)])
    for label, labels in ((-1, [0, 1, 2]), (2, [2, 2, 2])):
        expected = unscale(model(noise, np.array(labels)), model.pixel_range)
        np.testing.assert_allclose(drawn(loaded, 3, 5, label).astype(int), expected, atol=1)


@pytest.mark.parametrize(
    ("first", "label", "message"),
    [
        (-1, 0, r"number must be 0 or more"),
        (0, 3, "label must lie between"),
        (0, -2, "label must lie between"),
    ],
)
def test_generate_refuses_what_it_cannot_draw(generator, first, label, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message.replace(" ", r"[\s\\n\]\[']*")):
        drawn(generator[2], 2, 0, label, first)


def test_a_generator_without_classes_is_asked_for_none(tmp_path):
    version = serving.export(
        models.create("dense_gan_generator", **TINY["dense_gan_generator"]), tmp_path / "g"
    )
    facts = json.loads((version / "metadata.json").read_text())
    assert list(facts["endpoints"]["generate"]["inputs"]) == ["seed", "number"]
    assert facts["endpoints"]["generate"]["inputs"]["seed"] == {"dtype": "int32", "shape": [None]}


def painted(loaded, files, windows):
    serve = loaded.signatures["translate"]
    painted_files = serve(bytes=tf.constant(files), windows=tf.constant(windows, tf.int32))["images_bytes"]
    return [np.asarray(Image.open(io.BytesIO(data))) for data in painted_files.numpy()]


def test_translate_paints_as_synthesis_does(translator):
    model, _, loaded = translator
    images = [record["image"] for record in phantom.records(seed=3)[:3]]
    windows = np.array([[10, 12, 40, 30], [0, 0, 16, 16], [20, 5, 9, 21]])
    painted_images = painted(loaded, [saved(image[..., 0], "PNG") for image in images], windows)

    def translate(patches):
        scaled = patches.astype("float32") / 127.5 - 1
        return unscale(model.translate(scaled), model.pixel_range)

    for image, window, ours in zip(images, windows, painted_images, strict=True):
        (expected,), _ = synthesis.paint(image[None], window[None], translate, 1.5, 16)
        np.testing.assert_allclose(ours.astype(int), expected[..., 0], atol=1)
        assert (ours != image[..., 0]).any()
        top, left, height, width = window
        outside = np.ones(ours.shape, bool)
        outside[top : top + height, left : left + width] = False
        np.testing.assert_array_equal(ours[outside], image[..., 0][outside])


def test_a_translator_that_is_exported_anew_blends_as_before(translator, tmp_path):
    _, version, loaded = translator
    anew = releasing.release(version, tmp_path / "unit")
    image = saved(next(iter(phantom.records(seed=3)))["image"][..., 0], "PNG")
    windows = np.array([[10, 12, 40, 30]])
    expected, given = (painted(each, [image], windows) for each in (loaded, tf.saved_model.load(str(anew))))
    np.testing.assert_array_equal(given, expected)
    assert "blends with the exponent 1.5." in (anew / "model_card.md").read_text()


@pytest.mark.parametrize("window", [(-1, 0, 9, 9), (0, 0, 2, 9), (0, 0, 33, 9), (30, 0, 9, 9), (0, 40, 9, 9)])
def test_translate_refuses_windows_outside(translator, window):
    image = saved(np.zeros((32, 48), np.uint8), "PNG")
    with pytest.raises(tf.errors.InvalidArgumentError, match="window"):
        painted(translator[2], [image], [window])


@pytest.mark.parametrize("name", TINY)
def test_every_architecture_is_exported_and_comes_back(name, tmp_path):
    model = models.create(name, **TINY[name])
    rng = np.random.default_rng(0)
    model.set_weights([weight + 0.1 * rng.random(weight.shape) for weight in model.get_weights()])
    side = (model.image_size, model.image_size, model.channels)
    others = ("generator", "discriminator", "unit")
    preprocess = None if name.endswith(others) else Preprocess(model.image_size, channels=model.channels)
    version = serving.export(model, tmp_path / name, preprocess=preprocess)
    shapes = tf.train.load_checkpoint(str(version / "variables" / "variables")).get_variable_to_shape_map()
    stored = sum(int(np.prod(shape)) for key, shape in shapes.items() if key.endswith("VARIABLE_VALUE"))
    assert stored == sum(int(np.prod(variable.shape)) for variable in model.variables), "each number once"
    shape = (model.latent_dim,) if hasattr(model, "latent_dim") else side
    given = rng.random((2, *shape), "float32")
    served = tf.saved_model.load(str(version)).signatures["serving_default"]
    (key,) = served.structured_input_signature[1]
    outputs = [each.numpy() for _, each in sorted(served(**{key: tf.constant(given)}).items())]
    expected = model(given, training=False)
    expected = expected if isinstance(expected, list) else [expected]
    if "probabilities" in served.structured_outputs:
        final = tf.sigmoid if expected[0].shape[-1] == 1 else tf.nn.softmax
        expected = [final(each) for each in expected]
    for ours, theirs in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    back = models.load(tmp_path / name)
    assert type(back) is type(model) and back.get_config() == model.get_config()
    for ours, theirs in zip(back.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert batching.check(version) == len(served_endpoints(version))


def served_endpoints(version):
    facts = json.loads((version / "metadata.json").read_text())
    assert facts["warm_up_requests"] == len(facts["endpoints"])
    return facts["endpoints"]


def test_warm_up_requests_and_others_are_answered_in_batches(generator, translator):
    for _, version, _ in (generator, translator):
        assert batching.check(version) == len(served_endpoints(version)) == 2


def test_the_card_says_what_metadata_say(tmp_path):
    facts = {
        "classes": ["healthy", "finding"],
        "threshold": {"value": 0.25, "chosen": "on validation"},
        "metrics": {"auc": {"value": 0.75, "low": 0.6, "high": 0.875}},
        "command": "keras-fracture reproduce nothing",
    }
    version = serving.export(
        models.create("resnet18", num_classes=2, **TINY["resnet18"]), tmp_path / "net", metadata=facts
    )
    card = (version / "model_card.md").read_text()
    for words in (
        "# net\n", "Not for clinical use", "`images` float32 (n, 32, 32, 3)", "healthy, finding", "0.2500",
        "## Measured (95 % interval)\n", "- AUC: 0.750 (0.600 to 0.875)", "`keras-fracture reproduce nothing`",
    ):  # fmt: skip
        assert words in card, words
    without = {"metrics": {"kid": {"value": 0.01}}}
    assert "## Measured\n" in text("net", facts_of(version) | without), "no number has an interval"


def test_a_card_names_metrics_in_words():
    def measured(*names, value=0.5):
        facts = {"architecture": "x", "parameters": 1, "endpoints": {}, "pixel_range": None}
        page = text("x", facts | {"metrics": {name: {"value": value} for name in names}})
        return [line[2:] for line in page.splitlines() if line.startswith("- ")]

    assert measured("recall", "specificity", "f1", "sensitivity_at_90", "ece", "validation_auc") == [
        "sensitivity: 0.500", "specificity: 0.500", "F1: 0.500", "sensitivity at 90 % specificity: 0.500",
        "expected calibration error: 0.500", "validation AUC: 0.500",
    ]  # fmt: skip
    assert measured("kid", "recall", "ms_ssim", "copies_pixels", "kid_of_healthy_patches") == [
        "KID: 0.500", "recall: 0.500", "MS-SSIM: 0.500", "near copies by pixels: 0.500",
        "KID of healthy patches: 0.500",
    ]  # fmt: skip
    assert measured("kid", value=-0.0001) == ["KID: 0.000"]


def test_no_such_model_is_a_line(tmp_path):
    with pytest.raises(ModelError, match=r"no such model.* Received: 'nothing'"):
        models.load("nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="holds no SavedModel"):
        models.load(tmp_path / "empty")


def test_export_of_random_weights_from_the_command_line(tmp_path, capsys):
    assert (
        cli.main(["export", "--model", "compact_cnn", "--to", str(tmp_path / "cnn"), "--version", "3"]) == 0
    )
    assert sorted(path.name for path in (tmp_path / "cnn" / "3").iterdir()) == [
        "assets", "assets.extra", "fingerprint.pb", "metadata.json", "model_card.md", "saved_model.pb", "variables",
    ]  # fmt: skip
    assert cli.main(["export", "--to", str(tmp_path / "cnn")]) == 2
    assert "Received: nothing" in capsys.readouterr().err
