import dataclasses
import importlib
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_fracture import data
from keras_fracture.data import Augmentation, decoding, pipeline, splits
from keras_fracture.data.pipeline import Preprocess
from keras_fracture.errors import DataError, ImageError, ModelError
from keras_fracture.models.preprocessing import SYMMETRIC, scale


@pytest.fixture(scope="module")
def train(dummy_root):
    return data.load("kaggle_fracture", "train", data_dir=dummy_root)


def _epoch(dataset):
    images, labels = zip(*dataset.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


@pytest.mark.parametrize(("pixel_range", "size"), [((0.0, 1.0), 32), (SYMMETRIC, 48)])
def test_batches_have_the_documented_shape_dtype_and_range(train, pixel_range, size):
    dataset = train.batched(5, size, pixel_range=pixel_range)
    assert dataset.cardinality() == -(-len(train) // 5), "or Keras is surprised by the end"
    assert dataset.element_spec[0].shape.as_list() == [None, size, size, 1]
    assert dataset.element_spec[0].dtype == tf.float32 and dataset.element_spec[1].dtype == tf.int64
    batches = list(dataset.as_numpy_iterator())
    assert [len(labels) for _, labels in batches] == [5, 5, 2] and len(train) == 12
    images, _ = _epoch(dataset)
    assert images.min() == pixel_range[0] and 0.7 < images.max() <= pixel_range[1]


def test_batched_equals_arrays_and_the_table(train):
    setting = Preprocess(size=40, clahe=(2.0, 4), channels=3)
    images, labels = train.arrays(setting)
    assert images.shape == (12, 40, 40, 3) and images.dtype == np.uint8 and labels.dtype == np.int64
    batched, same = _epoch(train.batched(5, preprocess=setting))
    np.testing.assert_allclose(batched, images / 255, atol=1e-6)
    np.testing.assert_array_equal(same, labels)
    np.testing.assert_array_equal(train.table["label"], labels)


def test_table_order_is_the_order_of_raw_and_of_the_pixels(train, dummy_root):
    raw = list(train.raw().as_numpy_iterator())
    assert train.table["filename"].tolist() == [row["filename"].decode() for row in raw]
    assert train.table["source"].nunique() == 4 and "image" not in train.table
    images, _ = train.arrays(Preprocess(size=64))
    for name, image in zip(train.table["filename"], images, strict=True):
        stored = decoding.decode((dummy_root / "kaggle_bone_fracture" / name).read_bytes()).image
        np.testing.assert_array_equal(image[..., 0], stored)


def test_fields_are_those_asked_for_and_reading_touches_nothing_that_tfds_deprecates(dummy_root, monkeypatch):
    said = []
    monkeypatch.setattr("tensorflow_datasets.core.features.feature.log_tf_warning", said.append)
    records = data.load("kaggle_fracture", data_dir=dummy_root)
    some = list(records.raw(["label", "filename"]).as_numpy_iterator())
    assert [set(record) for record in some] == [{"label", "filename"}] * 12
    assert [record["filename"].decode() for record in some] == records.table["filename"].tolist()
    assert said == []


def test_order_is_fixed_without_shuffle_and_changes_each_epoch_with_it(train):
    fixed = train.batched(4, 32)
    np.testing.assert_array_equal(_epoch(fixed)[0], _epoch(fixed)[0])
    shuffled = train.batched(4, 32, shuffle=7)
    first, second = _epoch(shuffled)[0], _epoch(shuffled)[0]
    assert (first != second).any()
    np.testing.assert_array_equal(*(np.sort(e.reshape(12, -1).sum(1)) for e in (first, second)))
    np.testing.assert_array_equal(_epoch(train.batched(4, 32, shuffle=7))[0], first)


def test_cache_comes_before_augmentation(train, monkeypatch, tmp_path):
    decoded = []
    decode = decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda data, *name: decoded.append(1) or decode(data, *name))
    augmented = train.batched(4, 32, augment=Augmentation(seed=1), cache=tmp_path)
    first, labels = _epoch(augmented)
    assert len(decoded) == 12
    second, same = _epoch(augmented)
    assert len(decoded) == 12  # the second epoch comes from the cache
    np.testing.assert_array_equal(labels, same)
    plain, _ = _epoch(train.batched(4, 32, cache=tmp_path))
    for one, other in ((first, second), (first, plain), (second, plain)):
        assert (np.abs(one - other).reshape(12, -1).max(1) > 0.05).all()
    assert min(first.min(), second.min()) >= 0 and max(first.max(), second.max()) <= 1


def test_without_a_cache_each_epoch_decodes(train, monkeypatch):
    decoded = []
    decode = decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda data, *name: decoded.append(1) or decode(data, *name))
    plain = train.batched(4, 32, cache=False)
    np.testing.assert_array_equal(_epoch(plain)[0], _epoch(plain)[0])
    assert len(decoded) == 24


def test_cache_file_holds_what_was_there_before_augmentation(train, tmp_path):
    path = tmp_path / "cache"
    _epoch(train.batched(4, 32, augment=Augmentation(seed=1), cache=path))
    assert list(tmp_path.iterdir())
    plain, _ = _epoch(train.batched(4, 32, cache=path))
    np.testing.assert_array_equal(plain, _epoch(train.batched(4, 32, cache=False))[0])


def test_preprocess_is_the_single_functions_in_their_order():
    image = np.random.default_rng(0).integers(0, 256, (70, 50), np.uint8)
    clear = decoding.clahe(image, 2.0, 8)
    padded = Preprocess(size=32, clahe=(2.0, 8), channels=3)(image)
    np.testing.assert_array_equal(padded, np.stack([decoding.fit_and_pad(clear, 32)] * 3, -1))
    cropped = Preprocess(size=32, crop=True)(image)
    np.testing.assert_array_equal(cropped, decoding.resize_and_crop(image, 32)[..., None])


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize(
    "kind", ["uint16", "10 bits", "12 bits", "int32", "int64", "float32", "float64", "floats"]
)
def test_preprocess_of_any_array_is_that_of_its_levels(crop, kind):
    image = np.random.default_rng(0).integers(0, 256, (70, 50), np.uint8)
    image[0, 0] = 255
    depth = {"10 bits": 1023, "12 bits": 4095, "uint16": 65535, "int64": 65535}.get(kind, 255)
    values = np.rint(image * (depth / 255)).astype(kind if kind.startswith("int") else np.uint16)
    values = {"float32": np.float32(image / 255), "float64": image / 255, "floats": image * 1.0}.get(
        kind, values
    )
    for clahe in (None, (2.0, 8)):
        setting = Preprocess(size=32, crop=crop, clahe=clahe)
        made = setting(values)
        assert made.dtype == np.uint8
        np.testing.assert_array_equal(made, setting(image))


@pytest.mark.parametrize(
    "values", [np.full((9, 9), np.nan), np.full((9, 9), -1), np.zeros((9, 9, 3), np.uint8)]
)
def test_preprocess_refuses_arrays_that_have_no_levels(values):
    with pytest.raises(ImageError, match="Received"):
        Preprocess(size=32)(values)


def test_inverted_images_are_turned_first_and_padded_with_black():
    image = np.random.default_rng(0).integers(0, 256, (70, 50), np.uint8)
    setting = Preprocess(size=32, clahe=(2.0, 8))
    turned = dataclasses.replace(setting, invert=True)
    np.testing.assert_array_equal(turned(255 - image), setting(image))


@pytest.mark.parametrize("kind", ["uint16", "float32", "int64"])
def test_batches_refuse_arrays_that_are_not_8_bit(kind):
    with pytest.raises(ModelError, match=f"uint8.*Received: {kind}"):
        pipeline.batches((np.ones((4, 2, 2, 1), kind), np.arange(4)), 4, 2)
    with pytest.raises(ModelError, match=f"uint8.*Received: {kind}"):
        scale(np.ones((4, 2, 2, 1), kind), SYMMETRIC)


def test_bilinear_is_pillows_as_torchvision_resizes():
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 256, (70, 70), np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR))
    for crop in (False, True):
        prepared = Preprocess(size=32, crop=crop, resize="bilinear")(image)[..., 0]
        np.testing.assert_array_equal(prepared, expected)
    assert np.abs(Preprocess(size=32)(image)[..., 0].astype(int) - expected).max() > 10


@pytest.mark.parametrize(
    "options",
    [
        {"size": 0},
        {"channels": 2},
        {"invert": "false"},
        {"resize": "bicubic"},
        {"clahe": (2.0,)},
        {"clahe": (2.0, 8.5)},
        {"clahe": ("2", 8)},
        {"clahe": (2.0, 8, 8)},
    ],
)
def test_preprocess_refuses_what_cannot_be(options):
    with pytest.raises(DataError, match="Received"):
        Preprocess(**options)


def test_batches_of_arrays_hold_all_of_them():
    images = np.arange(10 * 4, dtype=np.uint8).reshape(10, 2, 2, 1)
    dataset = pipeline.batches((images, np.arange(10)), 10, 4, pixel_range=SYMMETRIC)
    assert [len(labels) for _, labels in dataset] == [4, 4, 2]
    batched, labels = _epoch(dataset)
    np.testing.assert_array_equal(labels, np.arange(10))
    np.testing.assert_allclose(batched, scale(images, SYMMETRIC), atol=1e-6)
    np.testing.assert_allclose(batched, images / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("count", [10, 30])
@pytest.mark.parametrize("kind", [tuple, tf.data.Dataset.from_tensor_slices])
def test_batches_of_another_number_of_images_are_refused(count, kind):
    """10 of 20, in batches of 4, were 12 images; 30 were an epoch that never ends."""
    arrays = np.zeros((20, 2, 2, 1), np.uint8), np.arange(20)
    with pytest.raises(DataError, match=f"count {count} for 20 images"):
        pipeline.batches(kind(arrays), count, 4)


def test_batches_of_images_without_their_labels_are_refused():
    with pytest.raises(DataError, match=r"Every image needs one label\. Received: ValueError: .*20"):
        pipeline.batches((np.zeros((20, 2, 2, 1), np.uint8), np.arange(10)), 20, 4)


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch_size", 0), ("batch_size", -4), ("first_epoch", -1), ("shuffle", True), ("shuffle", 0.5)],
)
def test_batches_of_what_counts_nothing_are_refused(train, name, value):
    arrays = np.zeros((4, 2, 2, 1), np.uint8), np.arange(4)
    with pytest.raises(DataError, match=f"{name} must be a whole number.*Received: {value}"):
        pipeline.batches(arrays, 4, **{"batch_size": 2, name: value})
    with pytest.raises(DataError, match=f"{name} must be a whole number.*Received: {value}"):
        train.batched(**{"size": 32, name: value})


def test_tfds_decodes_records_to_the_same_levels_and_finds_a_plain_image_on_the_disk(dummy_root):
    """TensorFlow's default way of JPEG was up to 18 levels off."""
    for name in ("kaggle_fracture", "btxrd"):
        records = data.load(name, data_dir=dummy_root)
        decoded = records.builder.as_dataset(split="train").as_numpy_iterator()
        for given, stored in zip(decoded, records.raw().as_numpy_iterator(), strict=True):
            np.testing.assert_array_equal(given["image"][..., 0], decoding.decode(stored["image"]).image)
        found = tfds.builder_from_directory(records.builder.data_dir).info.features["image"]
        assert type(found) is tfds.features.Image
        plain = tfds.features.Image(shape=(None, None, 1), dtype=np.uint8, doc="grey levels 0 to 255")
        assert records.builder.info.features["image"].to_proto() == plain.to_proto()


def test_take_repeats_its_batches_and_steps_of_a_repeated_dataset_go_on():
    arrays = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1), np.arange(10)
    dataset = pipeline.batches(arrays, 10, 2, shuffle=1)
    taken, again = (_epoch(dataset.take(2))[1].tolist() for _ in range(2))
    assert taken == again
    first, second = np.split(_epoch(dataset.repeat(2))[1], 2)
    assert first[:4].tolist() == taken and sorted(first) == sorted(second) == list(range(10))
    assert (first != second).any()


def test_truncated_image_is_stored_recovered(dummy_root):
    splits = [data.load("fracatlas", name, data_dir=dummy_root) for name in ("train", "validation", "test")]
    rows = [row for split in splits for row in split.raw().as_numpy_iterator()]
    (stored,) = [row["image"] for row in rows if row["filename"].endswith(b"IMG0000002.jpg")]
    file = dummy_root / "FracAtlas" / "images" / "Non_fractured" / "IMG0000002.jpg"
    recovered = decoding.decode(file.read_bytes())
    assert recovered.truncated and not decoding.is_truncated(stored)
    np.testing.assert_array_equal(tf.io.decode_image(stored)[..., 0], recovered.image)


def test_other_settings_make_other_records(dummy_root):
    default = data.prepare("kaggle_fracture", data_dir=dummy_root)
    other = data.prepare("kaggle_fracture", data_dir=dummy_root, seed=5, shares=(0.5, 0.25, 0.25))
    assert default.builder_config.name == "grouped"
    assert other.builder_config.name == "grouped-50-25-25-seed5"
    assert default.data_path != other.data_path


def test_a_second_process_waits_for_the_first_and_finds_its_records(dummy_root, monkeypatch):
    module = importlib.import_module(
        "keras_fracture.data.datasets.kaggle_fracture.kaggle_fracture_dataset_builder"
    )
    generate, made, second = module.Builder._generate_examples, [], []

    def prepare():
        return data.prepare("kaggle_fracture", data_dir=dummy_root, seed=11)

    def watched(self, *arguments):
        if not made:
            other.start()
            other.join(1)  # as long as the lock is held
            assert not second
        made.append(None)
        yield from generate(self, *arguments)

    other = threading.Thread(target=lambda: second.append(prepare()))
    monkeypatch.setattr(module.Builder, "_generate_examples", watched)
    first = prepare()
    other.join(60)
    assert len(made) == 3, "each split once, by one of them"
    assert second[0].data_path == first.data_path and second[0].is_prepared()
    assert not list(Path(first.data_path).parents[3].rglob("*.lock"))


def test_what_a_killed_process_left_of_records_is_removed(dummy_root):
    builder = data.prepare("kaggle_fracture", data_dir=dummy_root, seed=12)
    version = Path(builder.data_path)
    half = version.with_name(f"incomplete.ABC123_{version.name}")
    shutil.copytree(version, half)
    (version.parents[1] / ".config").mkdir(exist_ok=True)
    (version.parents[1] / ".config" / "incomplete.0a.metadata.json").write_text("{")
    shutil.rmtree(version)
    (version.parents[2] / "kaggle_fracture.lock").touch()
    again = data.prepare("kaggle_fracture", data_dir=dummy_root, seed=12)
    assert again.is_prepared() and Path(again.data_path) == version
    left = [*version.parents[1].rglob("incomplete.*"), *version.parents[2].glob("*.lock")]
    assert not left


def test_the_digest_knows_every_byte_and_every_label(dummy_root, tmp_path):
    def digests(root, **options):
        return [
            data.load("kaggle_fracture", split, data_dir=root, **options).digest() for split in splits.NAMES
        ]

    here = digests(dummy_root)
    assert len(set(here)) == 3 and all(len(digest) == 64 for digest in here)
    shutil.copytree(dummy_root, tmp_path / "copy")
    assert digests(tmp_path / "copy") == here, "wherever they lie, and whenever they were prepared"
    assert digests(dummy_root, seed=3) != here
    path = next((tmp_path / "copy").rglob("train/fractured/*.jpg"))
    image = decoding.decode(path.read_bytes()).image
    image[0, 0] ^= 128
    path.write_bytes(decoding.encode_png(image))
    assert digests(tmp_path / "copy") != here


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda root: data.load("mimic", data_dir=root), "Choose one of btxrd"),
        (lambda root: data.load("fracatlas", "val", data_dir=root), "Choose one of train, validation, test"),
        (lambda root: data.load("fracatlas", policy="random", data_dir=root), "Choose one of grouped"),
        (
            lambda root: data.load("fracatlas", policy="official", data_dir=root),
            "Choose one of grouped, paper",
        ),
        (lambda root: data.load("fracatlas", data_dir=root / "none"), "FracAtlas is not in"),
        (lambda root: data.load("fracatlas", data_dir=root, shares=(1, 1, 1)), "sum to 1"),
        *(
            (lambda root, seed=seed: data.load("phantom", seed=seed), "seed must be")
            for seed in (-1, "1", 1.5)
        ),
    ],
)
def test_what_cannot_be_loaded_is_a_data_error(dummy_root, call, words):
    with pytest.raises(DataError, match=words):
        call(dummy_root)
