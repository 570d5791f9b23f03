import http.server
import os
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import models, serving
from keras_fracture.errors import EvaluationError, WeightsError
from keras_fracture.evaluation import Extractor, extract, extractor, features
from keras_fracture.training import precision


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 24, 24, 1), np.uint8)


@pytest.fixture(scope="module")
def resnet():
    keras.utils.set_random_seed(0)
    model = models.create("resnet18", width=4, image_size=32, num_classes=2)
    model.bn1.moving_mean.assign(np.linspace(-1, 1, 4))
    return model


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_FRACTURE_CACHE", str(tmp_path))
    return tmp_path / "features"


def test_a_classifiers_features_are_pooled_maps_of_what_it_takes(images, resnet):
    vectors = extract(images, resnet, batch_size=2)
    resized = tf.image.resize(np.repeat(images, 3, 3).astype("float32"), (32, 32), antialias=True)
    maps = resnet.features(resized / 255).numpy()
    assert maps.shape == (5, 1, 1, 32)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, maps.mean((1, 2)), atol=1e-5)


def test_colours_are_averaged_for_a_grey_model(images):
    model = models.create("compact_cnn", image_size=32)
    coloured = np.concatenate([images, images, images], 3)
    np.testing.assert_allclose(extract(coloured, model), extract(images, model), atol=1e-5)


def test_any_keras_model_gives_its_vectors_or_pooled_maps(images):
    inputs = keras.Input((12, 12, 1))
    maps = keras.layers.AveragePooling2D(6)(inputs)
    pooled = extract(images, keras.Model(inputs, maps))
    flat = extract(images, keras.Model(inputs, keras.layers.Flatten()(maps)))
    assert pooled.shape == (5, 1)
    assert flat.shape == (5, 4)
    np.testing.assert_allclose(pooled[:, 0], images.mean((1, 2, 3)) / 255, atol=0.02)
    np.testing.assert_allclose(flat.mean(1), pooled[:, 0], atol=1e-6)


@pytest.mark.parametrize("scale", [1 / 255, 1 / 127.5])
def test_a_model_that_scales_grey_levels_itself_must_say_its_range(images, scale):
    """It would see all of them as black."""
    inputs = keras.Input((12, 12, 1))
    inner = keras.Sequential(
        [keras.Input((12, 12, 1)), keras.layers.Rescaling(scale), keras.layers.Flatten()]
    )
    model = keras.Model(inputs, inner(inputs), name="foreign")
    with pytest.raises(EvaluationError, match=r"foreign scales its images itself.*pixel_range = \(0, 255\)"):
        extract(images, model)
    model.pixel_range = (0, 255)
    taken = tf.image.resize(
        tf.reduce_mean(tf.cast(images, "float32"), 3, keepdims=True), (12, 12), antialias=True
    )
    np.testing.assert_allclose(
        extract(images, model), scale * np.reshape(taken, (len(images), -1)), atol=1e-4
    )
    doubled = keras.Sequential(
        [keras.Input((12, 12, 1)), keras.layers.Rescaling(2.0, -1.0), keras.layers.Flatten()]
    )
    np.testing.assert_allclose(
        extract(images, doubled), np.reshape(taken, (len(images), -1)) / 127.5 - 1, atol=1e-4
    )


def test_a_model_that_standardises_grey_levels_must_say_its_range_too(images):
    """As ConvNeXt of `keras.applications` does."""

    def standardising(mean):
        layers = keras.layers.Normalization(mean=[mean], variance=[0.05]), keras.layers.Flatten()
        return keras.Sequential([keras.Input((12, 12, 1)), *layers], name="foreign")

    with pytest.raises(EvaluationError, match=r"foreign scales its images itself.*or Normalization"):
        extract(images, standardising(120.0))
    assert np.abs(extract(images, standardising(0.5))).max() < 3


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("compact_cnn", "saved_model"),
        ("compact_cnn", "keras"),
        ("resnet18", "version"),
        ("inception_net", "version"),
    ],
)
def test_a_classifier_comes_back_from_its_file(images, tmp_path, name, kind):
    keras.utils.set_random_seed(1)
    narrow = {
        "resnet18": {"width": 4, "depths": (1, 1, 1, 1)},
        "inception_net": {"stem_width": 4, "stages": ((4, True),)},
    }
    model = models.create(name, image_size=27, **narrow.get(name, {}))
    path = tmp_path / "saved_model"
    if kind == "keras":
        path = tmp_path / "model.keras"
        model.save(path)
    elif kind == "version":
        path = serving.export(model, path)
    else:  # the highest version counts
        serving.export(models.create(name, image_size=27), path, 2)
        serving.export(model, path, 10)
    loaded, ours = extractor(f"xray:{path}"), extractor(model)
    np.testing.assert_allclose(extract(images, loaded), extract(images, ours), atol=1e-6)
    assert loaded.name == f"xray:{path}"


def test_what_is_no_classifier_is_refused_in_one_line(tmp_path):
    for path in (tmp_path / "missing", tmp_path / "missing.keras", tmp_path):
        with pytest.raises(
            WeightsError, match=r"Name a classifier of this package.*keras-fracture reproduce"
        ) as caught:
            extractor(f"xray:{path}")
        assert "\n" not in str(caught.value)


def test_names_are_checked():
    for bad in ("inception", None, 3):
        with pytest.raises(EvaluationError, match=r"one of inception_v3, xray, xray:PATH.*Received: "):
            extractor(bad)


def test_xray_is_the_classifier_that_comes_along():
    """It was taught FracAtlas's five body parts, each with and without a finding."""
    model = features.load_classifier(features._PACKAGED)
    assert (model.image_size, model.channels, model.num_classes) == (64, 1, 10)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 1)).astype("uint8")
    expected = model.features(images.astype("float32") / 255).numpy().mean((1, 2))
    vectors = extract(images, "xray")
    assert vectors.shape == (3, 128)
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)


def test_the_classifier_that_comes_along_answers_as_it_did_when_it_was_saved():
    model = features.load_classifier(features._PACKAGED)
    waves = (np.sin(50 * np.linspace(0, 1, 2 * 64 * 64, dtype="float32")) + 1) / 2
    logits = model(waves.reshape(2, 64, 64, 1), training=False)
    np.testing.assert_allclose(logits[0, :5], [3.835821, 0.213776, -0.937583, -0.553863, 2.341797], atol=1e-3)


def test_inception_sees_299_colour_pixels_in_its_own_range(monkeypatch):
    inputs = keras.Input((299, 299, 3))
    network, built = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)), []

    def build(**settings):
        assert settings == {"include_top": False, "pooling": "avg", "weights": "imagenet"}
        built.append(keras.config.dtype_policy().name)
        return network

    monkeypatch.setattr(keras.applications, "InceptionV3", build)
    levels = np.array([0, 51, 255], np.uint8)
    with precision.using("mixed_bfloat16"):
        vectors = extract(np.tile(levels[:, None, None, None], (1, 64, 64, 1)), "inception_v3")
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert built == ["float32"], "whatever a GAN is trained in, distances are of float32"
    np.testing.assert_allclose(vectors, np.repeat([[-1.0], [-0.6], [1.0]], 3, 1), atol=1e-3)


def test_weights_that_cannot_be_downloaded_are_said_in_one_line(monkeypatch, tmp_path):
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(503)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    from keras.src.applications import inception_v3
    from keras.src.backend import config

    monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path))
    monkeypatch.setattr(inception_v3, "WEIGHTS_PATH_NO_TOP", f"http://127.0.0.1:{server.server_port}/w.h5")
    try:
        with pytest.raises(WeightsError, match=r"cannot be downloaded: connect.*Received: .*503") as caught:
            extractor("inception_v3")
    finally:
        server.shutdown()
        server.server_close()
    assert "\n" not in str(caught.value)


def counting(identity):
    calls = []

    def run(images):
        calls.append(len(images))
        return images.mean((1, 2, 3))[:, None]

    return Extractor("means", run, identity), calls


def test_cached_features_are_not_computed_again_and_belong_to_images_and_extractor(images, cache):
    chosen, calls = counting("one")
    first = extract(images, chosen, cached=True)
    assert np.array_equal(extract(images, chosen, cached=True), first)
    assert calls == [5]
    changed = images.copy()
    changed[0, 0, 0] ^= 1
    extract(changed, chosen, cached=True)
    extract(images.reshape(5, 12, 48, 1), chosen, cached=True)
    assert calls == [5, 5, 5]
    other, others = counting("two")
    extract(images, other, cached=True)
    assert others == [5]
    extract(images, chosen)
    assert calls == [5, 5, 5, 5]
    assert sorted(path.suffix for path in cache.iterdir()) == [".npy"] * 4


@pytest.mark.parametrize("length", [0, 40, 140])
def test_a_truncated_cache_file_is_computed_again(images, cache, length):
    chosen, calls = counting("one")
    whole = extract(images, chosen, cached=True)
    (path,) = cache.iterdir()
    os.truncate(path, length)
    assert np.array_equal(extract(images, chosen, cached=True), whole)
    assert calls == [5, 5]
    assert np.array_equal(np.load(path), whole)


def test_a_function_is_never_cached(images, cache):
    extract(images, counting(None)[0], cached=True)
    extract(images, lambda batch: batch.mean((1, 2)), cached=True)
    assert not cache.exists()


def test_the_identity_follows_the_weights_and_the_range(resnet):
    before = extractor(resnet).identity
    assert extractor(resnet).identity == before
    means = resnet.bn1.moving_mean.numpy()
    resnet.bn1.moving_mean.assign(means + 1)
    changed = extractor(resnet).identity
    resnet.bn1.moving_mean.assign(means)
    assert changed != before == extractor(resnet).identity


@pytest.mark.parametrize(
    ("bad", "received"),
    [
        (np.zeros((2, 8, 8, 1)), r"float64 \(2, 8, 8, 1\)"),
        (np.zeros((2, 8, 8), np.uint8), r"uint8 \(2, 8, 8\)"),
        (np.zeros((2, 8, 8, 2), np.uint8), r"uint8 \(2, 8, 8, 2\)"),
        (np.zeros((0, 8, 8, 1), np.uint8), r"uint8 \(0, 8, 8, 1\)"),
    ],
)
def test_other_images_are_refused(bad, received):
    with pytest.raises(EvaluationError, match=rf"must be uint8.*Received: {received}"):
        extract(bad, lambda batch: batch.mean((1, 2)))


def test_other_features_are_refused(images):
    with pytest.raises(EvaluationError, match=r"features \(n, d\).*Received: \(5, 24, 1\) for 5"):
        extract(images, lambda batch: batch.mean(1))
    with pytest.raises(EvaluationError, match=r"finite features\. Received: NaN"):
        extract(images, lambda batch: batch.mean((1, 2)) * np.nan)
