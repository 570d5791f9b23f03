"""Trained models by name."""

import functools
import hashlib
import threading
import zlib
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from keras_fracture import cli, models, serving
from keras_fracture.data import Preprocess, decoding, phantom
from keras_fracture.errors import ModelError
from keras_fracture.serving import zoo
from keras_fracture.serving.versions import models_in, version_of
from scripts import index_models

CHECKOUT = Path(__file__).resolve().parents[2]


class Release(ThreadingHTTPServer):
    """A loopback folder of archives; `asked` are the paths that it was asked for."""

    def __init__(self, folder):
        asked = self.asked = []

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *args):
                asked.append(self.path)

        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
        self.base = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def __exit__(self, *args):
        self.shutdown()
        super().__exit__(*args)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An installation that knows a model `small` which it has not, in an empty folder; and the release's folder."""
    release, package, work = (tmp_path / name for name in ("release", "package", "work"))
    for folder in (release, package, work):
        folder.mkdir()
    network = models.create("compact_cnn", image_size=32)
    about = {"classes": ["finding"], "finding": "finding"}
    serving.export(network, tmp_path / "small", preprocess=Preprocess(size=32), metadata=about)
    packed = zoo.archive(tmp_path / "small", release / "small.tar").read_bytes()
    entry = {"bytes": len(packed), "sha256": hashlib.sha256(packed).hexdigest()}
    monkeypatch.setattr(zoo, "index", lambda: {"small": entry})
    monkeypatch.setattr(zoo, "_PLACES", (package,))
    monkeypatch.setenv("KERAS_FRACTURE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(work)
    return tmp_path


def test_the_index_is_that_of_the_models(tmp_path):
    folders = models_in(CHECKOUT / "saved_models")
    packed = {folder: zoo.archive(folder, tmp_path / "model.tar").read_bytes() for folder in folders}
    made = {folder.name: index_models.entry(folder, content) for folder, content in packed.items()}
    assert zoo.index() == made, "run python -m scripts.index_models"
    assert all((CHECKOUT / "saved_models" / entry["card"]).is_file() for entry in made.values())
    features = (CHECKOUT / "keras_fracture" / "evaluation" / "xray.keras").read_bytes()
    bundled = [content for folder, content in packed.items() if made[folder.name]["bundled"]]
    deflated = sum(len(zlib.compress(content)) for content in (features, *bundled))
    assert deflated < 19.4e6, "with half a megabyte of programs, the wheel stays under 20"


def test_an_archive_depends_on_the_files_alone(elsewhere):
    first = (elsewhere / "release" / "small.tar").read_bytes()
    for path in (elsewhere / "small").rglob("*"):
        path.touch()
    assert zoo.archive(elsewhere / "small", elsewhere / "again.tar").read_bytes() == first


def test_a_model_is_fetched_once_and_answers(elsewhere, monkeypatch, capsys):
    record = phantom.records(seed=1)[0]
    image = elsewhere / "hand.png"
    image.write_bytes(decoding.encode_png(record["image"][..., 0]))
    command = ["predict", str(image), "--csv"]
    assert cli.main([*command, "a.csv", "--model", str(elsewhere / "small")]) == 0
    with Release(elsewhere / "release") as release:
        monkeypatch.setenv(zoo.VARIABLE, release.base)
        assert zoo.here("small") is None
        for _ in range(2):
            assert cli.main([*command, "b.csv", "--model", "small"]) == 0
        assert len(release.asked) == 1, "kept after the first time"
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()
    assert not list((elsewhere / "cache" / "models").rglob("*.tar*"))
    np.testing.assert_array_equal(
        models.load("small").get_weights()[0], models.load(elsewhere / "small").get_weights()[0]
    )
    capsys.readouterr()


def test_what_cannot_be_fetched_is_one_line_and_leaves_nothing(elsewhere, monkeypatch, capsys):
    def refused(words):
        assert cli.main(["evaluate", "small", "--data", "phantom"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and words in error

    with monkeypatch.context() as patch:
        patch.setattr(
            zoo.importlib.metadata, "metadata", lambda name: Urls("https://example.org/OWNER/keras_fracture")
        )
        refused("does not say where releases are")
    with Release(elsewhere / "release") as release:
        monkeypatch.setenv(zoo.VARIABLE, release.base)
        packed = (elsewhere / "release" / "small.tar").read_bytes()
        (elsewhere / "release" / "small.tar").write_bytes(packed[:-1] + b"x")
        refused("arrived damaged")
    refused("stopped at 0 of")  # nobody is there any more
    assert not list((elsewhere / "cache" / "models").rglob("metadata.json"))


class Urls:
    """Metadata of an installed package that names a repository."""

    def __init__(self, address):
        self.address = address

    def get_all(self, name):
        return [f"Repository, {self.address}"]


def test_the_address_is_that_of_the_repositorys_release(monkeypatch):
    urls = Urls("https://example.org/doe/keras_fracture")
    monkeypatch.delenv(zoo.VARIABLE, raising=False)
    monkeypatch.setattr(zoo.importlib.metadata, "metadata", lambda name: urls)
    where = f"https://example.org/doe/keras_fracture/releases/download/v{zoo.__version__}/small.tar"
    assert zoo.address("small") == where


def test_a_folder_comes_before_a_name_and_a_typo_is_said(elsewhere):
    with pytest.raises(
        ModelError, match=r"no such model.*one of small. Did you mean small\? Received: 'smal'"
    ):
        version_of("smal")
    mine = Path("saved_models/small")
    serving.export(models.create("compact_cnn", image_size=32), mine, version=7)
    assert version_of("small").resolve() == (mine / "7").resolve()
    serving.export(models.create("compact_cnn", image_size=32), "small", version=9)
    assert version_of("small") == Path("small/9")


def test_two_folders_are_served_together_unless_names_clash(elsewhere):
    other = elsewhere / "others" / "large"
    serving.export(models.create("compact_cnn", image_size=32), other)
    assert [path.name for path in models_in(elsewhere / "small", other.parent)] == ["small", "large"]
    serving.export(models.create("compact_cnn", image_size=32), other.parent / "small")
    with pytest.raises(ModelError, match="Two models are called small"):
        models_in(elsewhere / "small", other.parent)


def test_the_list_says_where_models_are(capsys):
    assert cli.main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == sorted(zoo.index())
    (best,) = [line for line in lines if line.split()[0] == "efficientnet_lite0_ensemble"]
    assert "auc 0.901 (0.849 to 0.944)" in best and "CC BY 4.0" in best and " here " in best
