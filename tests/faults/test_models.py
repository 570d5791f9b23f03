"""Damaged and hostile model files: loaded, or a typed error that names the file; their code is never run."""

import io
import json
import pickle
import re
import shutil
import zipfile

import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_fracture import cli, models, serving
from keras_fracture.data import Preprocess, decoding, phantom
from keras_fracture.errors import FractureError, ModelError
from keras_fracture.inference.predicting import Classifier
from keras_fracture.serving.metadata import facts_of
from keras_fracture.training.weights import load_keras
from tests.faults import counting


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """The folder of an exported classifier."""
    folder = tmp_path_factory.mktemp("exported") / "cnn"
    serving.export(models.create("compact_cnn", image_size=32), folder, preprocess=Preprocess(size=32))
    return folder


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The bytes of a `.keras` file."""
    path = tmp_path_factory.mktemp("kept") / "gan.keras"
    models.create("dcgan_generator", image_size=32, width=1, channels=1).save(path)
    return path.read_bytes()


@pytest.fixture
def refused(tmp_path, capsys):
    """A function that runs the command line, and gives the one line it refuses with; nothing may be written."""

    def said(*words):
        counting.tried["model files"] += 1
        before = sorted(tmp_path.rglob("*"))
        out = tmp_path / "out"
        assert cli.main([*map(str, words), str(out)]) == 2
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.count("\n") == 1, printed.err
        assert printed.err.startswith("keras-fracture: ") and "Traceback" not in printed.err
        assert sorted(tmp_path.rglob("*")) == before
        return printed.err

    return said


def _with_config(data, change):
    """A `.keras` file whose config.json is changed by a function of it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                content = json.dumps(change(json.loads(content))).encode()
            new.writestr(name, content)
    return stream.getvalue()


def _lambda(marker):
    """A `.keras` file whose layer writes a file when it is made or called."""
    code = keras.layers.Lambda(lambda x, path=str(marker): (open(path, "w"), x)[1])  # noqa: SIM115
    stream = io.BytesIO()
    keras.Sequential([keras.Input((4,)), code]).save(marker.with_name("made.keras"))
    stream.write(marker.with_name("made.keras").read_bytes())
    marker.with_name("made.keras").unlink()
    return stream.getvalue()


CALLS = [
    ("os", "system"), ("builtins", "eval"), ("subprocess", "getoutput"), ("keras.src.utils.file_utils", "get_file"),
]  # fmt: skip


def _call(module, name, marker):
    return {"module": module, "class_name": name, "config": f"touch {marker}", "registered_name": None}


def test_code_in_keras_files_is_not_run(tmp_path, kept, refused):
    marker, path = tmp_path / "marker", tmp_path / "hostile.keras"
    hostile = [_lambda(marker)]
    marker.unlink(missing_ok=True)
    for module, name in CALLS:
        call = _call(module, name, marker)
        hostile += [_with_config(kept, lambda config, call=call: call),
                    _with_config(kept, lambda config, call=call: config | {"config": call})]  # fmt: skip
    for content in hostile:
        path.write_bytes(content)
        assert f"{path} is no model of this package" in refused("generate", path, "--count", 1, "--out")
        assert f"{path} is no model of this package" in refused("export", path, "--to")
        assert not marker.exists()


def test_keras_files_cut_anywhere_are_refused(tmp_path, kept):
    path = tmp_path / "cut.keras"
    for percent in range(0, 100, 4):
        counting.tried["model files"] += 1
        path.write_bytes(kept[: len(kept) * percent // 100])
        with pytest.raises(ModelError, match=f"{path} is no model of this package"):
            load_keras(path)


@counting.examples(40)
@given(st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=20))
def test_changed_bytes_of_keras_files_raise_nothing_else(tmp_path_factory, kept, changes):
    data = bytearray(kept)
    for place, value in changes:
        data[place % len(data)] = value
    counting.tried["model files"] += 1
    path = tmp_path_factory.getbasetemp() / "changed.keras"
    path.write_bytes(data)
    try:
        assert isinstance(load_keras(path), keras.Model)
    except ModelError as error:
        assert str(path) in str(error) and "\n" not in str(error)


def _copy(classifier, folder):
    return shutil.copytree(classifier, folder / "model") / "1"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_KNOWN = ("architecture", "config", "endpoints", "pixel_range", "preprocess", "classes", "threshold")


@counting.examples(25)
@given(st.dictionaries(st.sampled_from(_KNOWN), _JSON, min_size=1, max_size=2), st.booleans())
def test_any_metadata_is_understood_or_refused(tmp_path_factory, classifier, changes, dropped):
    counting.tried["model files"] += 1
    version = tmp_path_factory.getbasetemp() / "described" / "1"
    shutil.copytree(classifier / "1", version, dirs_exist_ok=True)
    facts = json.loads((classifier / "1" / "metadata.json").read_text())
    facts |= changes
    if dropped:
        del facts[next(iter(changes))]
    (version / "metadata.json").write_text(json.dumps(facts))
    image = decoding.encode_png(phantom.records(seed=0)[0]["image"][..., 0])
    for ask in (
        lambda: models.load(version),
        lambda: Classifier(version).predict([image]),
    ):
        try:
            ask()
        except FractureError as error:
            assert str(version) in str(error) and "\n" not in str(error)


DAMAGED = {
    "no JSON": (lambda version: (version / "metadata.json").write_text("{"), "describes no model"),
    "deep JSON": (lambda version: (version / "metadata.json").write_text("[" * 10**5), "describes no model"),
    "a list": (lambda version: (version / "metadata.json").write_text("[]"), "describes no model"),
    "bytes": (lambda version: (version / "metadata.json").write_bytes(b"\xff{}"), "describes no model"),
    "no graph": (lambda version: (version / "saved_model.pb").unlink(), "holds no whole SavedModel"),
    "half a graph": (
        lambda version: (version / "saved_model.pb").write_bytes(
            (version / "saved_model.pb").read_bytes()[:5000]
        ),
        "holds no whole SavedModel",
    ),
    "another graph": (
        lambda version: (version / "saved_model.pb").write_bytes(b"\x08\x01"), "holds no whole SavedModel",
    ),
    "no variables": (lambda version: shutil.rmtree(version / "variables"), "holds no whole SavedModel"),
    "half the variables": (
        lambda version: next((version / "variables").glob("*.data*")).write_bytes(b"\0" * 10),
        "holds no whole SavedModel",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_saved_models_are_refused(case, tmp_path, classifier, refused):
    version = _copy(classifier, tmp_path)
    image = tmp_path / "image.png"
    image.write_bytes(decoding.encode_png(phantom.records(seed=0)[0]["image"][..., 0]))
    damage, words = DAMAGED[case]
    damage(version)
    said = refused("predict", image, "--model", version.parent, "--csv")
    assert re.search(words, said) and str(version) in said


class _Call:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("ending", [".pth", ".pt", ".safetensors", ".weights.h5"])
def test_a_pickle_is_not_opened_whatever_it_is_called(tmp_path, ending, refused):
    marker, path = tmp_path / "marker", tmp_path / f"hostile{ending}"
    path.write_bytes(pickle.dumps(_Call(marker)))
    words = refused("convert", path, "--model", "compact_cnn", "--to")
    assert "hostile" in words or "end in" in words
    assert not marker.exists()


def test_a_models_facts_are_checked(classifier):
    assert facts_of(classifier / "1")["architecture"] == "CompactCNN"
