"""What other runtimes are given: prepared as in training, without TensorFlow."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture.data import Preprocess, decoding
from keras_fracture.data.images import prepare
from keras_fracture.errors import DataError, ImageError
from keras_fracture.models.preprocessing import scale


def test_files_are_prepared_as_for_training(radiographs):
    preprocess = Preprocess(size=24, clahe=(2.0, 8), channels=3)
    prepared = prepare([decoding.encode_png(image) for image in radiographs], preprocess, (-1, 1))
    assert prepared.shape == (3, 24, 24, 3) and prepared.dtype == np.float32
    # As the pipeline scales them: by TensorFlow's operations.
    levels = tf.constant(np.stack([preprocess(image) for image in radiographs]))
    np.testing.assert_allclose(prepared, scale(levels, (-1, 1)), atol=1e-6)
    assert prepared.min() == -1 and prepared.max() > 0.5


def test_a_reduced_jpeg_is_the_same_image_with_other_pixels(radiographs):
    image = cv2.resize(radiographs[0], (400, 400), interpolation=cv2.INTER_CUBIC)
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    full, reduced = (Preprocess(size=24, jpeg=jpeg) for jpeg in ("full", "reduced"))
    assert full.decode(data).shape == (400, 400) and reduced.decode(data).shape == (50, 50)
    (one,), (other,) = (prepare([data], each, (0, 255)) for each in (full, reduced))
    apart = np.abs(one - other)
    assert apart.max() > 0 and apart.mean() < 2  # grey levels
    with pytest.raises(DataError, match=r"full or reduced\. Received: 'fast'"):
        Preprocess(jpeg="fast")


def test_errors_name_the_file():
    with pytest.raises(ImageError, match=r"^hand.jpg is not an image"):
        prepare([b"no image"], Preprocess(size=24), (0, 1), ["hand.jpg"])


def test_of_several_files_each_is_as_it_is_alone(radiographs, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    files = [decoding.encode_png(image) for image in radiographs] * 20
    preprocess = Preprocess(size=24, clahe=(2.0, 8))
    threads = cv2.getNumThreads()
    together = prepare(files, preprocess, (0, 1))
    np.testing.assert_array_equal(
        together, np.concatenate([prepare([data], preprocess, (0, 1)) for data in files])
    )
    with pytest.raises(ImageError, match=r"^name7 is not an image"):
        damaged = [b"no image" if number in (7, 9) else data for number, data in enumerate(files)]
        prepare(damaged, preprocess, (0, 1), [f"name{number}" for number in range(len(files))])
    assert cv2.getNumThreads() == threads
    assert prepare([], preprocess, (0, 1)).shape == (0,)


def test_neither_images_nor_metadata_import_tensorflow(radiographs, tmp_path):
    (tmp_path / "hand.png").write_bytes(decoding.encode_png(radiographs[0]))
    preprocess = {
        "size": 8,
        "clahe": None,
        "crop": False,
        "channels": 1,
        "invert": False,
        "resize": "lanczos",
    }
    facts = {"architecture": "CompactCNN", "config": {}, "endpoints": {}, "pixel_range": [0, 1]}
    (tmp_path / "metadata.json").write_text(json.dumps(facts | {"preprocess": preprocess}))
    program = """
import sys
from pathlib import Path

from keras_fracture.data import images
from keras_fracture.serving.metadata import preparation

folder = Path(sys.argv[1])
prepared = images.prepare([(folder / "hand.png").read_bytes()], *preparation(folder))
print(prepared.shape, sorted({"tensorflow", "keras", "tensorflow_datasets"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "(1, 8, 8, 1) []\n", done.stderr
