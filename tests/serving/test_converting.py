"""Exported models in other formats: the SavedModel's numbers and facts, whole or not at all."""

import hashlib
import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import cli, models, serving
from keras_fracture.data import Preprocess
from keras_fracture.errors import ModelError, OutputError
from keras_fracture.serving import converting
from keras_fracture.serving.releasing import release
from keras_fracture.serving.versions import model_config, version_of

FORMS = ("onnx", "tflite")


@pytest.fixture(params=FORMS)
def form(request):
    for package in {"onnx": ("tf2onnx", "onnxruntime"), "tflite": ("ai_edge_litert",)}[request.param]:
        pytest.importorskip(package)
    return request.param


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A classifier, a generator and a translator, with weights so large that their outputs are apart."""
    folder = tmp_path_factory.mktemp("exported")
    keras.utils.set_random_seed(0)
    networks = {
        "classifier": models.create("compact_cnn", image_size=32),
        "generator": models.create("dcgan_generator", image_size=32, width=2, channels=1, num_classes=3),
        "translator": models.create("unit", image_size=16, width=2, channels=1),
        "munit": models.create("unit", preset="munit", image_size=16, width=2, channels=1),
    }
    for name, network in networks.items():
        for variable in network.trainable_variables:
            variable.assign(variable * 2)
        known = {
            "preprocess": Preprocess(size=32, clahe=(2.0, 8)),
            "metadata": {"classes": ["finding"], "threshold": {"value": 0.4, "chosen": "by hand"}},
        }
        serving.export(network, folder / name, **(known if name == "classifier" else {}))
    return folder


def inputs(name):
    rng = np.random.default_rng(5)
    return {
        "classifier": {
            "images": rng.random((5, 32, 32, 1), np.float32)
            * np.float32(np.linspace(0, 1, 5))[:, None, None, None]
        },
        "generator": {
            "noise": rng.standard_normal((5, 100), np.float32),
            "labels": np.array([0, 1, 2, 1, 0], np.int32),
        },
        "translator": {"images": rng.random((5, 16, 16, 1), np.float32) * 2 - 1},
        "munit": {"images": rng.random((5, 16, 16, 1), np.float32) * 2 - 1},
    }[name]


@pytest.mark.parametrize("name", ["classifier", "generator", "translator", "munit"])
def test_the_numbers_and_the_metadata_are_the_saved_models(exported, tmp_path, name, form):
    saved = exported / name / "1"
    version, difference = converting.convert(form, saved, tmp_path / name)
    model, given = tf.saved_model.load(str(saved)), inputs(name)
    ((key, wanted),) = model.signatures["serving_default"](**given).items()
    wanted = wanted.numpy()
    (got,) = converting.runner(version / f"model.{form}")(**given).values()
    assert np.ptp(wanted, axis=0).max() > 1e-3, "else anything would be equal"
    tolerance = 1e-4 if name == "munit" else 1e-5  # its normalisations enlarge what rounding leaves
    np.testing.assert_allclose(got, wanted, atol=tolerance)
    assert 0 <= difference < tolerance

    before, after = (json.loads((folder / "metadata.json").read_text()) for folder in (saved, version))
    told, data = after.pop("converted"), (version / f"model.{form}").read_bytes()
    assert told == {
        "file": f"model.{form}",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "largest_difference": difference,
    }
    warm_ups, endpoints, left = (
        before.pop("warm_up_requests"),
        before.pop("endpoints"),
        after.pop("endpoints"),
    )
    assert before == after and warm_ups
    assert list(left) == ["serving_default"]
    assert left["serving_default"]["inputs"] == endpoints["serving_default"]["inputs"]
    # In ONNX no two values have one name.
    output = f"{key}_out" if form == "onnx" and name in ("translator", "munit") else key
    assert left["serving_default"]["outputs"] == {output: endpoints["serving_default"]["outputs"][key]}
    card = (version / "model_card.md").read_text()
    assert told["sha256"] in card and "serve_bytes" not in card
    program = {"onnx": "with_onnxruntime.py", "tflite": "with_litert.py"}[form]
    asked = f"python examples/runtimes/{program} classifier/NUMBER hand.jpg"
    assert (asked in card) == (name == "classifier")
    assert "keras-fracture " not in card and "models.load" not in card
    assert sorted(path.name for path in version.iterdir()) == [
        "metadata.json",
        f"model.{form}",
        "model_card.md",
    ]


def test_the_command_converts_what_export_takes_and_saved_models(exported, tmp_path, form, capsys):
    models.create("compact_cnn", image_size=32).save(tmp_path / "net.keras")
    for source in (tmp_path / "net.keras", exported / "classifier"):
        out = tmp_path / source.stem / "new"
        assert cli.main(["export", str(source), "--to", str(out), "--format", form]) == 0
        wrote, difference = capsys.readouterr().out.splitlines()
        assert wrote == f"wrote {out / '1'}: model.{form}, metadata.json, model_card.md"
        assert float(difference.removeprefix("largest difference from the SavedModel: ")) < 1e-5
        assert (out / "1" / f"model.{form}").is_file()
    refused = ["export", str(exported / "classifier"), "--to", str(tmp_path / "no"), "--format", form]
    for words, more in (
        ("A SavedModel says itself what it is", ["--classes", "finding"]),
        ("exists already: choose another version", ["--to", str(out)]),
        ("holds SavedModels, and TensorFlow Serving takes the highest", ["--to", str(exported / "classifier"),
                                                                         "--version", "2"]),
    ):  # fmt: skip
        assert cli.main(refused + more) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    assert not (tmp_path / "no").exists()


def test_a_model_of_16_bits_is_refused_in_one_line(tmp_path, form):
    half = serving.export(
        models.create("compact_cnn", image_size=32, dtype="mixed_bfloat16"), tmp_path / "half"
    )
    with pytest.raises(
        ModelError, match=rf"^new computes in mixed_bfloat16, which {form} does not: export what "
    ):
        converting.convert(form, half, tmp_path / "new")
    full = serving.export(models.load(half), tmp_path / "full")  # what it advises
    assert converting.convert(form, full, tmp_path / "new")[1] < 1e-5


def test_what_gives_other_numbers_is_not_written(exported, tmp_path, form, monkeypatch):
    changed = models.create("compact_cnn", image_size=32)
    other = serving.export(changed, tmp_path / "changed")
    wrong, _ = converting.convert(form, other, tmp_path / "other")
    run = converting.runner(wrong / f"model.{form}")
    monkeypatch.setattr(converting, "runner", lambda file: run)
    with pytest.raises(
        ModelError, match=r"^new gives other numbers as \w+: nothing was written. Received: .* 0.0001"
    ):
        converting.convert(form, exported / "classifier" / "1", tmp_path / "new")
    none = {"probabilities": np.full((1, 1), np.nan, np.float32)}
    monkeypatch.setattr(converting, "runner", lambda file: lambda **given: none)
    with pytest.raises(ModelError, match="Received: a difference of nan"):
        converting.convert(form, exported / "classifier" / "1", tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


def test_a_conversion_that_breaks_off_leaves_nothing(exported, tmp_path, form, monkeypatch):
    def broken(*given):
        given[-1].write_bytes(b"half")
        raise RuntimeError("no such operation\nin many lines")

    monkeypatch.setattr(converting, f"_write_{form}", broken)
    with pytest.raises(
        ModelError, match=rf"converted to {form}. Received: RuntimeError: no such operation in many"
    ):
        converting.convert(form, exported / "classifier" / "1", tmp_path / "new")

    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(converting, f"_write_{form}", full)
    with pytest.raises(OutputError, match=r"new/1 cannot be written: No space left"):
        converting.convert(form, exported / "classifier" / "1", tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


def test_servers_and_predict_pass_converted_models_by(exported, tmp_path, form):
    folder = tmp_path / "models" / "net"
    converting.convert(form, exported / "classifier" / "1", folder, 7)
    for where in (folder, folder / "7"):
        with pytest.raises(
            ModelError,
            match=rf"a converted model, .* as examples/runtimes/with_\w+.py does.* Received: model.{form}$",
        ):
            version_of(where)
        with pytest.raises(ModelError, match=rf"cannot be exported: name .*model.{form}$"):
            release(where, tmp_path / "again")
    serving.export(models.create("compact_cnn", image_size=32), folder, 2)
    assert version_of(folder) == folder / "2"
    serving.export(models.create("compact_cnn", image_size=32), tmp_path / "models" / "other")
    (folder / "2").rename(tmp_path / "away")
    assert "net" not in model_config(tmp_path / "models")


@pytest.mark.parametrize(("wanted", "missing"), [("onnx", "tf2onnx"), ("onnx", "onnxruntime"),
                                                 ("tflite", "ai_edge_litert.interpreter")])  # fmt: skip
def test_a_missing_package_is_one_line_before_anything_is_done(
    tmp_path, monkeypatch, capsys, wanted, missing
):
    for module in ("tf2onnx", "onnxruntime", "ai_edge_litert.interpreter"):
        monkeypatch.setitem(sys.modules, module, None if module == missing else sys)
    monkeypatch.setattr(converting.releasing, "release", lambda *given: pytest.fail("it was exported"))
    command = ["export", "--model", "compact_cnn", "--to", str(tmp_path / "new"), "--format", wanted]
    assert cli.main(command) == 2
    error = capsys.readouterr().err
    assert f"--format {wanted} needs what `pip install keras-fracture[runtimes]` brings. Received: " in error
    assert missing in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_another_format_is_refused(exported, tmp_path, capsys):
    with pytest.raises(ModelError, match=r"converted to tflite or onnx. Received: 'pb'$"):
        converting.convert("pb", exported / "classifier" / "1", tmp_path / "new")
    with pytest.raises(SystemExit) as stop:
        cli.main(["export", str(exported / "classifier"), "--to", str(tmp_path / "new"), "--format", "pb"])
    assert stop.value.code == 2 and "Received: 'pb'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
