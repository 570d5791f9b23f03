import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from keras_fracture import cli, inference, models, serving
from keras_fracture.data import Preprocess, decoding
from keras_fracture.errors import ImageError, ModelError, OutputError
from keras_fracture.models.preprocessing import scale
from keras_fracture.serving import releasing


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    model = models.create("compact_cnn", image_size=32)
    folder = tmp_path_factory.mktemp("served") / "compact_cnn"
    version = serving.export(model, folder, preprocess=Preprocess(size=32), metadata={"classes": ["finding"]})
    return model, folder, version


def test_a_classifier_answers_with_the_probabilities_of_its_logits(classifier):
    model, _, version = classifier
    images = np.random.default_rng(0).random((3, 32, 32, 1), "float32")
    served = tf.saved_model.load(str(version)).signatures["serving_default"](images=tf.constant(images))
    np.testing.assert_allclose(served["probabilities"], expit(np.asarray(model(images))), atol=1e-6)


def test_a_generator_answers_with_its_images(tmp_path):
    model = models.create("dense_gan_generator", width=1 / 32, channels=1)
    version = serving.export(model, tmp_path / "generator", version=3)
    assert version.name == "3"
    noise = np.random.default_rng(0).standard_normal((2, 128)).astype("float32")
    served = tf.saved_model.load(str(version)).signatures["serving_default"](noise=tf.constant(noise))
    np.testing.assert_allclose(served["images"], model(noise), atol=1e-5)


def test_a_generator_with_classes_takes_noise_and_labels(tmp_path):
    model = models.create("dcgan_generator", image_size=32, width=2, channels=1, num_classes=3)
    version = serving.export(model, tmp_path / "generator")
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    noise = np.random.default_rng(0).standard_normal((4, 100)).astype("float32")
    labels = np.array([2, 0, 1, 2], "int32")
    served = serve(noise=tf.constant(noise), labels=tf.constant(labels))
    np.testing.assert_allclose(served["images"], model(noise, labels), atol=1e-5)
    assert json.loads((version / "metadata.json").read_text())["endpoints"] == {
        "serving_default": {
            "inputs": {
                "noise": {"dtype": "float32", "shape": [None, 100]},
                "labels": {"dtype": "int32", "shape": [None]},
            },
            "outputs": {"images": {"dtype": "float32", "shape": [None, 32, 32, 1]}},
        },
        "generate": {
            "inputs": {name: {"dtype": "int32", "shape": [None]} for name in ("seed", "number", "label")},
            "outputs": {"images": {"dtype": "uint8", "shape": [None, 32, 32, 1]}},
        },
    }


def test_a_bfloat16_model_is_served_in_float32(tmp_path):
    model = models.create("compact_cnn", image_size=32, dtype="mixed_bfloat16")
    version = serving.export(model, tmp_path / "half")
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    assert signature.structured_input_signature[1]["images"].dtype == tf.float32
    assert signature.structured_outputs["probabilities"].dtype == tf.float32


def test_a_version_is_whole_or_absent(classifier, tmp_path):
    model, folder, _ = classifier
    with pytest.raises(OutputError, match="exists already"):
        serving.export(model, folder)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        serving.export(model, tmp_path / "file")
    assert sorted(path.name for path in folder.iterdir()) == ["1"]


def test_metadata_says_how_to_prepare_an_image(classifier):
    facts = json.loads((classifier[2] / "metadata.json").read_text())
    assert facts["preprocess"] == dataclasses.asdict(Preprocess(size=32))
    assert facts["pixel_range"] == [0.0, 1.0]
    assert facts["not_for_clinical_use"] is True
    outputs = {"probabilities": {"dtype": "float32", "shape": [None, 1]}}
    assert facts["endpoints"] == {
        "serving_default": {
            "inputs": {"images": {"dtype": "float32", "shape": [None, 32, 32, 1]}},
            "outputs": outputs,
        },
        "serve_bytes": {"inputs": {"bytes": {"dtype": "string", "shape": [None]}}, "outputs": outputs},
    }


def test_a_classifier_without_preprocessing_takes_images_alone(tmp_path):
    version = serving.export(models.create("compact_cnn", image_size=32), tmp_path / "plain")
    assert list(tf.saved_model.load(str(version)).signatures) == ["serving_default"]


@pytest.mark.parametrize("preprocess", [Preprocess(size=64), Preprocess(size=32, channels=3)])
def test_preprocessing_for_another_model_is_refused(tmp_path, preprocess):
    with pytest.raises(ModelError, match=r"32 pixels and 1 channel\(s\). Received: Preprocess"):
        serving.export(models.create("compact_cnn", image_size=32), tmp_path / "wrong", preprocess=preprocess)
    assert not (tmp_path / "wrong").exists()


def test_another_packages_model_is_refused_before_anything_is_written(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()], name="mine")
    with pytest.raises(ModelError, match=r"^export takes a classifier, .* Received: Sequential 'mine'$"):
        serving.export(model, tmp_path / "net")
    assert not list(tmp_path.iterdir())


def test_predict_reads_files_as_training_does(classifier, tmp_path):
    model, folder, _ = classifier
    image = np.random.default_rng(1).integers(0, 256, (60, 40), np.uint8)
    paths = {"eight.png": image, "sixteen.png": image.astype(np.uint16) * 257}
    for name, levels in paths.items():
        cv2.imwrite(str(tmp_path / name), levels)
    rows = inference.predict(folder, [tmp_path / name for name in paths])
    prepared = scale(Preprocess(size=32)(image)[None], model.pixel_range)
    wanted = float(expit(np.asarray(model(prepared)))[0, 0])
    assert [path for path, _ in rows] == [str(tmp_path / name) for name in paths]
    for _, probabilities in rows:
        assert probabilities == pytest.approx([wanted], abs=1e-6)


def test_predict_reads_values_of_any_depth_as_training_does(classifier, tmp_path):
    """12 bits in a file of 16, floats from 0 to 1, and an image whose hidden pixels are white."""
    _, folder, _ = classifier
    image = np.random.default_rng(1).integers(0, 256, (60, 40), np.uint8)
    image[0, :2], image[30:] = 255, 0
    hidden = np.dstack([np.where(image, image, 255)] * 3 + [np.where(image, 255, 0).astype(np.uint8)])
    files = {
        "eight.png": image,
        "twelve.png": np.rint(image * (4095 / 255)).astype(np.uint16),
        "twelve.pgm": np.rint(image * (4095 / 255)).astype(np.uint16),
        "floats.tiff": np.float32(image / 255),
        "hidden.png": hidden,
    }
    for name, values in files.items():
        cv2.imwrite(str(tmp_path / name), values)
    (tmp_path / "twelve.pgm").write_bytes(
        (tmp_path / "twelve.pgm").read_bytes().replace(b"65535", b"4095", 1)
    )
    wanted, *rows = [row for _, row in inference.predict(folder, [tmp_path / name for name in files])]
    for row in rows:
        assert row == pytest.approx(wanted, abs=1e-6)


def test_predict_says_once_how_many_images_look_inverted(classifier, radiographs, tmp_path, caplog, capsys):
    model, folder, _ = classifier
    images = [*radiographs, *(255 - image for image in radiographs[:2])]
    paths = [tmp_path / f"{number}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        cv2.imwrite(str(path), image)
    plain = inference.predict(folder, paths)
    (record,) = caplog.records
    assert record.getMessage().startswith("2 of 5 images look inverted") and "\n" not in record.getMessage()
    caplog.clear()
    assert (
        cli.main(["predict", "--model", str(folder), *map(str, paths), "--overlays", str(tmp_path / "heat")])
        == 0
    )
    assert [each.getMessage()[:13] for each in caplog.records] == ["2 of 5 images"]
    caplog.clear()
    inference.predict(folder, paths[:3])
    assert not caplog.records
    # A model that turns black and white itself takes them the other way round, in its SavedModel as well.
    turning = serving.export(model, tmp_path / "turning", preprocess=Preprocess(size=32, invert=True))
    rows = inference.predict(turning, paths)
    assert [each.getMessage()[:13] for each in caplog.records] == ["3 of 5 images"]
    assert [rows[3][1], rows[4][1]] == [plain[0][1], plain[1][1]]
    serve = tf.saved_model.load(str(turning)).signatures["serve_bytes"]
    served = serve(bytes=tf.constant([path.read_bytes() for path in paths]))["probabilities"]
    np.testing.assert_allclose(served, [row for _, row in rows], atol=1e-5)


def test_predict_of_dicom_is_that_of_its_png(classifier, tmp_path, capsys):
    pydicom = pytest.importorskip("pydicom")
    _, folder, _ = classifier
    path = Path(pydicom.data.__file__).parent / "test_files" / "MR_small.dcm"
    png = tmp_path / "image.png"
    png.write_bytes(decoding.encode_png(decoding.decode(path.read_bytes()).image))
    (_, one), (_, other) = inference.predict(folder, [path, png])
    assert one == other
    command = ["predict", "--model", str(folder), str(path), "--overlays", str(tmp_path / "heat")]
    assert cli.main(command) == 0
    assert "MR_small.dcm" in capsys.readouterr().out
    written = sorted(path.name for path in (tmp_path / "heat").iterdir())
    assert written == ["0000-MR_small.png", "answers.html", "contact-sheet.png"]


def test_predict_says_what_it_cannot_use(classifier, tmp_path):
    _, folder, _ = classifier
    (tmp_path / "text.jpg").write_text("this is no image")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name, words in (
        ("text.jpg", "not an image"),
        ("empty.jpg", "zero bytes"),
        ("none.jpg", "does not exist"),
    ):
        with pytest.raises(ImageError, match=words):
            inference.predict(folder, [tmp_path / name])
    with pytest.raises(ModelError, match="no SavedModel"):
        inference.predict(tmp_path, [tmp_path / "text.jpg"])


def test_a_run_of_an_earlier_version_is_released(classifier, tmp_path):
    """Its images were called pictures then."""
    _, folder, _ = classifier
    run = tmp_path / "run"
    shutil.copytree(folder, run / "net" / "saved_model")
    count = {"pictures": 7, "sources": 5, "pictures_of_training_sources": 2}
    row = {"split_policy": "grouped", "model": "compact_cnn", "variant": "paper", "data": "phantom", "profile": "smoke",
           "metrics": {"kid": {"value": 0.01}}, "saved_model": "net/saved_model"}  # fmt: skip
    splits = {"grouped": dict.fromkeys(("train", "validation", "test"), count)}
    metrics = {"runs": [row], "splits": splits, "settings": {"seed": 0}}
    (run / "metrics.json").write_text(json.dumps(metrics))
    facts = {
        "command": "c",
        "date": "2026-11-25",
        "versions": {},
        "paper": "lisbon_resnet",
        "profile": "smoke",
    }
    (run / "config.json").write_text(json.dumps(facts))
    assert cli.main(["export", str(run), "--to", str(tmp_path / "model")]) == 0
    metadata = json.loads((tmp_path / "model" / "1" / "metadata.json").read_text())
    assert (
        "train 7 images of 5 X-rays or patients" in metadata["trained_on"]
        and "2 test images" in metadata["trained_on"]
    )
    metrics["runs"][0]["data"] = "fracatlas"  # which tells no patients
    (run / "metrics.json").write_text(json.dumps(metrics))
    _, told = releasing.model_of_run(run, None)
    assert "train 7 images of 5 X-rays; " in told["trained_on"] and "patient" not in told["trained_on"]
    card = (tmp_path / "model" / "1" / "model_card.md").read_text()
    assert "## Measured\n" in card and "KID: 0.010\n" in card and "nterval" not in card, "none was recorded"


def test_a_saved_model_is_exported_anew_with_what_it_says_of_itself(classifier, tmp_path, capsys):
    """That is how models of an earlier version get this one's endpoints."""
    model, folder, version = classifier
    assert cli.main(["export", str(folder), "--to", str(tmp_path / "compact_cnn"), "--version", "2"]) == 0
    anew = tmp_path / "compact_cnn" / "2"
    before, after = (json.loads((each / "metadata.json").read_text()) for each in (version, anew))
    assert after == before
    images = np.random.default_rng(0).random((3, 32, 32, 1), "float32")
    served = tf.saved_model.load(str(anew)).signatures["serving_default"](images=tf.constant(images))
    np.testing.assert_allclose(served["probabilities"], expit(np.asarray(model(images))), atol=1e-6)
    assert cli.main(["export", str(folder), "--to", str(tmp_path / "other"), "--which", "grouped"]) == 2
    assert "says itself what it is: leave out" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
