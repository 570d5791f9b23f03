"""Run folders that differ in one number are told apart."""

import io
import json
import shutil
import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf

from benchmarks.soak.comparison import contents, differences

HISTORY = "run-0/history.csv"
ARRAYS = {
    "run-0/backup/epoch-00001.weights.h5": "layers/dense/vars/0",
    "run-0/model.keras": "layers/dense/vars/0",
    "run-0/probabilities.npz": "test",
}


def weights_file(weight):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["layers/dense/vars/0"] = np.array([0.25, weight], "float32")
        file["seed_generator/vars/0"] = np.array([1, 2], "uint32")
    return stream.getvalue()


def write_array(path, weight):
    if path.suffix == ".npz":
        np.savez(path, test=np.array([0.25, weight], "float32"))
    elif path.suffix == ".h5":
        path.write_bytes(weights_file(weight))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", "{}")
            archive.writestr("model.weights.h5", weights_file(weight))


def write_saved_model(folder, weight):
    module = tf.Module()
    module.kernel = tf.Variable([0.25, weight])
    tf.saved_model.save(module, str(folder))


def write_tables(folder, auc, loss, seconds):
    metrics = {"runs": [{"auc": auc, "minutes": seconds / 60, "threshold": float("nan")}]}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / HISTORY).write_text(f"epoch,loss,seconds\n1,0.7,{seconds}\n2,{loss},{seconds}\n")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "run-0" / "backup").mkdir(parents=True)
    for name in ARRAYS:
        write_array(folder / name, 0.5)
    write_saved_model(folder / "run-0" / "saved_model" / "1", 0.5)
    write_tables(folder, 0.8, 0.6123456789, 1.5)
    return folder


@pytest.fixture
def copy(run_folder, tmp_path):
    return shutil.copytree(run_folder, tmp_path / "copy")


def test_equal_runs_do_not_differ_whatever_the_clock_said(run_folder, copy):
    write_tables(copy, 0.8, 0.6123456789, 99.0)
    for name in ARRAYS:  # other bytes on the disk, such as a zip's dates, but the same arrays
        write_array(copy / name, 0.5)
    assert differences(copy, run_folder) == []


@pytest.mark.parametrize(("name", "array"), ARRAYS.items())
def test_one_weight_by_one_bit(run_folder, copy, name, array):
    write_array(copy / name, np.nextafter(np.float32(0.5), np.float32(1)))
    assert differences(copy, run_folder) == [f"{name}: {array}"]


def test_one_variable_of_a_saved_model(run_folder, copy):
    shutil.rmtree(copy / "run-0" / "saved_model" / "1")
    write_saved_model(copy / "run-0" / "saved_model" / "1", 0.5000001)
    variable = "run-0/saved_model/1/variables/variables.index: kernel/.ATTRIBUTES/VARIABLE_VALUE"
    assert variable in contents(run_folder) and differences(copy, run_folder) == [variable]


def test_one_digit_of_a_history_or_a_metric(run_folder, copy):
    write_tables(copy, 0.8, 0.6123456788, 1.5)
    assert differences(copy, run_folder) == [f"{HISTORY}: loss"]
    write_tables(copy, 0.9, 0.6123456789, 1.5)
    assert differences(copy, run_folder) == ["metrics.json: /runs/0/auc"]


def test_what_only_one_of_them_holds(run_folder, copy):
    (copy / "report.md").touch()
    (copy / HISTORY).write_text("epoch\n1\n2\n")
    np.savez(copy / "run-0" / "probabilities.npz", test=np.array([0.25, 0.5], "float64"))
    expected = [f"{HISTORY}: loss", "report.md", "run-0/probabilities.npz: test"]
    assert differences(copy, run_folder) == differences(run_folder, copy) == sorted(expected)
