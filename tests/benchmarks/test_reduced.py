import shutil
from pathlib import Path

import pytest

from benchmarks.errors import BenchmarkError
from benchmarks.reduced import measure_reduced
from keras_fracture import data

SHIPPED = Path(__file__).parents[2] / "saved_models"


@pytest.fixture
def shelf(tmp_path):
    for name in ("compact_cnn", "dcgan_phantom"):
        shutil.copytree(SHIPPED / name, tmp_path / name)
    return tmp_path


def test_the_same_model_is_asked_about_whole_and_reduced_files(shelf, dummy_root, monkeypatch):
    load = data.load  # of so few images the test split has too few for an interval
    monkeypatch.setattr(data, "load", lambda name, split, **options: load(name, "train", **options))
    numbers = measure_reduced("fracatlas", shelf, dummy_root)
    assert {key.split(":")[0] for key in numbers} == {"compact_cnn"}
    told = {key.split(": ")[1]: value for key, value in numbers.items()}
    assert told["AUC, reduced"] - told["AUC, whole"] == pytest.approx(told["difference of AUC"])
    assert told["difference, from"] <= told["difference of AUC"] <= told["difference, to"]
    assert 0 <= told["share of files that are reduced"] <= 1
    assert (shelf / "compact_cnn/1/metadata.json").read_text() == (
        SHIPPED / "compact_cnn/1/metadata.json"
    ).read_text()


def test_a_data_set_that_no_model_learnt_from_is_an_error(shelf, dummy_root):
    with pytest.raises(BenchmarkError, match="learnt from btxrd"):
        measure_reduced("btxrd", shelf, dummy_root)
