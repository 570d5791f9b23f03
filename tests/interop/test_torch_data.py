"""Our images as a PyTorch data set: the same pixels, whatever workers read them."""

import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from keras_fracture import data
from keras_fracture.data import Preprocess, split_files
from keras_fracture.errors import WeightsError
from keras_fracture.interop import torch as interop
from keras_fracture.interop import torch_data

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "preprocess",
    [
        None,
        Preprocess(size=24, clahe=(2.0, 8), channels=3),
        Preprocess(size=16, crop=True, resize="bilinear"),
    ],
)
def test_pixels_are_those_of_batched_to_the_bit(dummy_root, preprocess):
    torch = pytest.importorskip("torch")
    options = {"size": 20} if preprocess is None else {"preprocess": preprocess}
    dataset = interop.dataset("kaggle_fracture", "train", data_dir=dummy_root, **options)
    ours = data.load("kaggle_fracture", "train", data_dir=dummy_root)
    (images, labels), *rest = ours.batched(100, **options).as_numpy_iterator()
    assert isinstance(dataset, torch.utils.data.Dataset) and not rest and len(dataset) == len(images) > 0
    for row, (image, label) in enumerate(dataset):
        assert image.dtype == torch.float32 and image.is_contiguous() and label == labels[row]
        np.testing.assert_array_equal(image.numpy(), images[row].transpose(2, 0, 1))
    assert row + 1 == len(dataset)
    assert images.std() > 0.05
    assert dataset.table["filename"].tolist() == ours.table["filename"].tolist()
    assert dataset.labels.tolist() == dataset.table["label"].tolist()


def test_images_are_prepared_once_and_anew_for_other_settings(dummy_root, monkeypatch, tmp_path):
    pytest.importorskip("torch")
    monkeypatch.setenv("KERAS_FRACTURE_CACHE", str(tmp_path))

    def files():
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "arrays").iterdir()}

    interop.dataset("kaggle_fracture", "test", data_dir=dummy_root, size=8)
    before = files()
    interop.dataset("kaggle_fracture", "test", data_dir=dummy_root, preprocess=Preprocess(size=8, channels=3))
    assert files() == before and len(before) == 1, "grey is kept once"
    interop.dataset("kaggle_fracture", "test", data_dir=dummy_root, size=9)
    assert len(files()) == 2


def test_a_split_file_and_a_transform(dummy_root, tmp_path):
    pytest.importorskip("torch")
    records = {
        one: data.load("kaggle_fracture", one, data_dir=dummy_root) for one in ("train", "validation", "test")
    }
    rows = split_files.table("kaggle_fracture", records, dummy_root)
    swapped = rows["split"].map({"train": "test", "test": "train", "validation": "validation"})
    path = split_files.write(tmp_path / "splits.csv", split_files.text(rows.assign(split=swapped)))
    dataset = interop.dataset(
        "kaggle_fracture", "test", data_dir=dummy_root, size=8, splits=path, transform=lambda image: -image
    )
    assert sorted(dataset.table["filename"]) == sorted(rows["filename"][rows["split"] == "train"])
    assert dataset[0][0].min() < 0 and dataset[0][0].max() <= 0


def test_it_can_be_sent_to_a_worker_without_its_pixels():
    images = torch_data.Images("nowhere.npy", np.arange(3), pd.DataFrame({"filename": list("abc")}))
    images.__dict__["pixels"] = np.zeros((3, 1000, 1000), np.uint8)
    sent = pickle.dumps(images)
    assert len(sent) < 20_000 and pickle.loads(sent).labels.tolist() == [0, 1, 2]


PROGRAM = """
    import sys

    from torch.utils.data import DataLoader


    def check(_):
        assert sys.argv[1] == "fork" or not {"tensorflow", "keras"} & set(sys.modules), "a worker imported TensorFlow"


    def main():
        from keras_fracture.interop.torch import dataset

        images = dataset("kaggle_fracture", "train", data_dir=sys.argv[2], size=16)
        plain = [(image.sum().item(), label) for image, label in DataLoader(images, None)]
        loader = DataLoader(images, None, num_workers=2, multiprocessing_context=sys.argv[1], worker_init_fn=check)
        for _ in range(2):
            assert [(image.sum().item(), int(label)) for image, label in loader] == plain
        print(len(plain), "images")


    if __name__ == "__main__":
        main()
"""


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_read_what_the_main_process_reads(dummy_root, tmp_path, start):
    pytest.importorskip("torch")
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(tmp_path / "program.py"), start, str(dummy_root)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(" images\n")


def test_without_pytorch_it_says_what_to_install(dummy_root, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(WeightsError, match="need PyTorch"):
        interop.dataset("kaggle_fracture", data_dir=dummy_root)
