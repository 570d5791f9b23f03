"""What the comparison of `serve_bytes` with training's pipeline says."""

import json
import shutil

import pytest

from benchmarks.__main__ import main
from benchmarks.errors import BenchmarkError
from benchmarks.serving import measure_serving
from keras_fracture import models, serving
from keras_fracture.data import Preprocess
from keras_fracture.errors import ModelError

REFUSED, SPREAD = "files that serve_bytes refused", "probability of a finding, standard deviation"
LARGEST, CROSSED = "difference of probability, largest", "files on the other side of one half"


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured") / "cnn"
    network = models.create("compact_cnn", image_size=32)
    return serving.export(network, folder, preprocess=Preprocess(size=32, clahe=(2.0, 8)))


def test_a_data_sets_files_are_compared(classifier, dummy_root):
    numbers = measure_serving("fracatlas", 6, classifier, dummy_root)
    assert numbers["fracatlas: files compared"] == 6 and numbers[REFUSED] == 0
    assert numbers[SPREAD] > 1e-5 and numbers[LARGEST] < numbers[SPREAD] / 10
    assert numbers[CROSSED] == 0


def test_a_model_that_prepares_otherwise_is_found_out(classifier, dummy_root, tmp_path):
    facts = json.loads((classifier / "metadata.json").read_text())
    same = measure_serving("fracatlas", 6, classifier, dummy_root)
    facts["preprocess"]["clahe"] = [40.0, 8]
    other = shutil.copytree(classifier, tmp_path / "other")
    (other / "metadata.json").write_text(json.dumps(facts))
    assert measure_serving("fracatlas", 6, other, dummy_root)[LARGEST] > 10 * same[LARGEST] + 1e-5


def test_the_command_measures_an_untrained_resnet(capsys):
    assert main(["serving", "--count", "2"]) == 0
    rows = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["phantom: files compared"] == "2" and float(rows[LARGEST]) < 0.002


def test_what_cannot_be_compared_is_said(tmp_path):
    with pytest.raises(BenchmarkError, match=r"count must be 1 or more. Received: 0"):
        measure_serving(count=0)
    plain = serving.export(models.create("compact_cnn", image_size=32), tmp_path / "plain")
    with pytest.raises(ModelError, match="is no classifier"):
        measure_serving(count=1, model=plain)
    facts = json.loads((plain / "metadata.json").read_text())
    facts["preprocess"] = {"size": 32, "clahe": None, "crop": False, "channels": 1}
    (plain / "metadata.json").write_text(json.dumps(facts))
    with pytest.raises(BenchmarkError, match="answers no bytes: export the model again"):
        measure_serving(count=1, model=plain)
