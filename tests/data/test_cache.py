import hashlib
import json
import resource
import shutil
import subprocess
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import PIL
import prepare_images
import pytest
import tensorflow as tf

from keras_fracture import data
from keras_fracture.data import cache, decoding
from keras_fracture.data.pipeline import Preprocess
from keras_fracture.errors import OutputError

SIZE = 32


@pytest.fixture(scope="module")
def train(dummy_root):
    return data.load("kaggle_fracture", "train", data_dir=dummy_root)


@pytest.fixture
def decoded(monkeypatch):
    """Gets an entry for every image that is decoded."""
    seen, decode = [], decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda content, *name: seen.append(1) or decode(content, *name))
    return seen


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def epoch(dataset):
    images, labels = zip(*dataset.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def test_prepared_images_are_those_that_were_not(train, tmp_path, decoded):
    for setting in (Preprocess(SIZE, clahe=(2.0, 4)), Preprocess(SIZE, crop=True, channels=3)):
        plain, labels = train.arrays(setting, cache=False)
        decoded.clear()
        for times in (1, 2):
            images, same = train.arrays(setting, cache=tmp_path)
            np.testing.assert_array_equal(images, plain)
            np.testing.assert_array_equal(same, labels)
            assert len(decoded) == 12, f"prepared {times} times"


def test_the_order_is_the_one_without_a_cache(train, tmp_path):
    cached, plain = (train.batched(5, SIZE, shuffle=3, cache=folder) for folder in (tmp_path, False))
    for _ in range(2):
        for one, other in zip(epoch(cached), epoch(plain), strict=True):
            np.testing.assert_array_equal(one, other)


def test_grey_is_kept_whatever_the_channels(train, tmp_path, decoded):
    one, _ = epoch(train.batched(5, preprocess=Preprocess(SIZE), cache=tmp_path))
    three, _ = epoch(train.batched(5, preprocess=Preprocess(SIZE, channels=3), cache=tmp_path))
    assert len(decoded) == 12
    np.testing.assert_array_equal(three, np.repeat(one, 3, axis=3))


def test_a_field_that_came_later_changes_no_key_where_it_is_as_before():
    records = types.SimpleNamespace(facts=lambda: {"name": "drawn"})

    before = {"size": SIZE, "clahe": None, "crop": False}
    facts = [cache._VERSION, cache.cv2.__version__, cache.PIL.__version__, before, records.facts()]
    expected = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    assert cache.key(records, Preprocess(SIZE)) == expected


def test_the_key_follows_from_settings_libraries_and_sources(dummy_root, tmp_path, monkeypatch):
    root = shutil.copytree(dummy_root / "kaggle_bone_fracture", tmp_path / "kaggle_bone_fracture")

    def key(*setting, split="train", **options):
        records = data.load("kaggle_fracture", split, data_dir=tmp_path, **options)
        return cache.key(records, Preprocess(*setting))

    keys = [
        key(SIZE),
        key(SIZE + 1),
        key(SIZE, (2.0, 8)),
        key(SIZE, (2.0, 4)),
        key(SIZE, None, True),
        key(SIZE, None, False, 1, True),
        key(SIZE, None, False, 1, False, "bilinear"),
        key(SIZE, None, False, 1, False, "lanczos", "reduced"),
        key(SIZE, split="test"),
        key(SIZE, seed=3),
    ]
    assert key(SIZE) == keys[0]
    monkeypatch.setattr(cache, "_VERSION", -1)
    keys.append(key(SIZE))
    monkeypatch.undo()
    image = next(root.rglob("*.jpg"))
    image.write_bytes(image.read_bytes() + b"\0")
    keys.append(key(SIZE))
    assert len(set(keys)) == len(keys)


def test_the_key_is_the_one_from_before_images_could_be_inverted():
    records = types.SimpleNamespace(facts=lambda: {"name": "any"})
    settings = {"size": SIZE, "clahe": None, "crop": False}
    facts = [cache._VERSION, cv2.__version__, PIL.__version__, settings, records.facts()]
    before = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    assert cache.key(records, Preprocess(SIZE)) == before


def test_processes_share_the_work_even_of_one_that_is_killed(train, dummy_root, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "IMAGES", prepare_images.A_FILE)
    setting = Preprocess(prepare_images.SIZE)
    cache.prepare(train, setting, tmp_path / "alone")
    ready, decoded = tmp_path / "ready", []
    ready.mkdir()
    command = [sys.executable, prepare_images.__file__, dummy_root, tmp_path / "shared", ready, "3"]
    workers = [
        subprocess.Popen([*command, *more], stdout=subprocess.PIPE, text=True) for more in (["die"], [])
    ]
    decode = prepare_images.wait_for_all(decoding.decode, ready, 3, decoded)
    monkeypatch.setattr(decoding, "decode", decode)
    cache.prepare(train, setting, tmp_path / "shared")
    (_, other_count) = (worker.communicate(timeout=90)[0] for worker in workers)
    assert [worker.returncode for worker in workers] == [-9, 0]
    assert decoded and int(other_count) and len(decoded) + int(other_count) == len(train), (
        "each image by one of the two"
    )
    made = contents(tmp_path / "shared")
    assert len(made) == 6 and made == contents(tmp_path / "alone"), "and neither locks nor halves are left"


def test_what_a_killed_process_left_is_no_image(train, tmp_path):
    (path,) = cache.prepare(train, Preprocess(SIZE), tmp_path)
    whole = path.read_bytes()
    path.unlink()
    path.with_name(f".123-{path.name}").write_bytes(whole[:100])
    path.with_suffix(".lock").touch()
    cache.prepare(train, Preprocess(SIZE), tmp_path)
    assert contents(tmp_path) == {path.name: whole}


def test_a_disk_that_is_full_is_said_and_leaves_nothing(train, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OutputError, match=f"{tmp_path}.* cannot be written"):
            train.arrays(Preprocess(SIZE), cache=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {Path(name).suffix for name in contents(tmp_path)} <= {".lock"}
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file.* cannot be written"):
        train.batched(cache=tmp_path / "file")


@pytest.mark.parametrize("shuffled", [4, 7, 1000])
def test_images_held_in_memory_come_as_those_that_are_read(train, tmp_path, monkeypatch, shuffled):
    monkeypatch.setattr(cache, "IMAGES", 5)
    monkeypatch.setattr(cache, "SHUFFLED", shuffled * SIZE * SIZE)
    setting = {"preprocess": Preprocess(SIZE, channels=3), "cache": tmp_path, "shuffle": 2, "first_epoch": 1}
    held = train.batched(5, **setting)
    read, opened = cache.read, []
    monkeypatch.setattr(cache, "read", lambda *given: opened.append(1) or read(*given))
    epoch(held)
    assert not opened
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():  # whose variables none but its own may fill
        held = train.batched(5, **setting)  # that starts again at the first epoch
    opened.clear()
    monkeypatch.setattr(cache, "HELD", 0)
    streamed = train.batched(5, **setting)
    for _ in range(2):
        for one, other in zip(epoch(held), epoch(streamed), strict=True):
            np.testing.assert_array_equal(one, other)
    assert opened


@pytest.mark.parametrize("held", [0, cache.HELD])
def test_more_images_than_are_shuffled_at_once_come_in_other_orders(train, tmp_path, monkeypatch, held):
    monkeypatch.setattr(cache, "HELD", held)
    monkeypatch.setattr(cache, "IMAGES", 3)
    monkeypatch.setattr(cache, "SHUFFLED", 4 * SIZE * SIZE)
    setting = {"preprocess": Preprocess(SIZE), "cache": tmp_path}
    fixed, _ = epoch(train.batched(5, **setting))
    shuffled = train.batched(5, shuffle=7, **setting)
    first, second = (epoch(shuffled)[0] for _ in range(2))
    again = train.batched(5, shuffle=7, **setting)
    for one, other in zip((first, second), (epoch(again)[0] for _ in range(2)), strict=True):
        np.testing.assert_array_equal(one, other)
    other, _ = epoch(train.batched(5, shuffle=8, **setting))
    orders = [fixed, first, second, other]
    sums = [each.reshape(12, -1).sum(1) for each in orders]
    for number, each in enumerate(sums):
        np.testing.assert_allclose(np.sort(each), np.sort(sums[0]), rtol=1e-6)
        assert all((each != former).any() for former in sums[:number])
