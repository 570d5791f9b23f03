"""Augmentation: independent draws, the same after a resume and however many calls run at once, and what they do."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import data, models
from keras_fracture.data import Augmentation, pipeline
from keras_fracture.data.augmentation import PARAMETERS
from keras_fracture.errors import DataError
from keras_fracture.models.preprocessing import SYMMETRIC, UNIT
from keras_fracture.training import DiffAugment, make_train_dataset, running

NOTHING = {"flip": None, "rotation": 0, "zoom": 0, "shift": 0, "contrast": 0}
EVERYTHING = Augmentation("horizontal_and_vertical", seed=3)


@pytest.fixture(scope="module")
def drawn():
    return {name: values.numpy() for name, values in EVERYTHING.draw(range(2000)).items()}


def test_parameters_are_drawn_independently_of_each_other(drawn):
    assert tuple(drawn) == PARAMETERS
    correlations = np.corrcoef(list(drawn.values()))
    assert np.abs(correlations - np.eye(len(PARAMETERS))).max() < 0.1


def test_parameters_are_independent_from_image_to_image_and_from_seed_to_seed(drawn):
    other = Augmentation("horizontal_and_vertical", seed=4).draw(range(2000))
    for name, values in drawn.items():
        assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.1
        assert abs(np.corrcoef(values, other[name])[0, 1]) < 0.1


def test_parameters_fill_their_ranges_evenly(drawn):
    for name, low, high in (
        ("rotation", -0.03 * 2 * np.pi, 0.03 * 2 * np.pi), ("zoom", 0.9, 1.1), ("shift_down", -0.05, 0.05),
        ("shift_right", -0.05, 0.05), ("contrast", 0.9, 1.1),
    ):  # fmt: skip
        counts, _ = np.histogram(drawn[name], bins=4, range=(low, high))
        assert counts.sum() == 2000 and counts.min() > 430
    for name in ("flip_horizontal", "flip_vertical"):
        assert set(drawn[name]) == {0, 1} and 0.45 < drawn[name].mean() < 0.55


def test_what_one_draws_does_not_depend_on_the_others(drawn):
    alone = Augmentation(**NOTHING | {"zoom": 0.1, "seed": 3}).draw(range(2000))
    np.testing.assert_array_equal(alone["zoom"], drawn["zoom"])
    assert (alone["rotation"].numpy() == 0).all() and (alone["flip_horizontal"].numpy() == 0).all()


def test_draws_of_diffaugment_are_independent_too():
    layer = DiffAugment(seed=3)
    seeds = keras.random.SeedGenerator(0)
    seeds.state.assign(layer.random.state)
    numbers = np.asarray(keras.random.uniform((12, 2000), seed=seeds))
    assert np.abs(np.corrcoef(numbers) - np.eye(12)).max() < 0.1


def _one(image, value_range=(0.0, 1.0), positions=(0,), **options):
    return np.asarray(
        Augmentation(**NOTHING | {"value_range": value_range} | options)(image[None, ..., None], positions)
    )[0, ..., 0]


def test_flips_mirror_the_image():
    image = np.random.default_rng(0).random((6, 8), "float32")
    seen = set()
    for position in range(40):
        results = _one(image, flip="horizontal_and_vertical", positions=[position])
        for name, mirrored in (
            ("as it was", image), ("across", image[:, ::-1]), ("down", image[::-1]), ("both", image[::-1, ::-1]),
        ):  # fmt: skip
            if np.allclose(results, mirrored, atol=1e-5):
                seen.add(name)
    assert seen == {"as it was", "across", "down", "both"}


@pytest.mark.parametrize("value_range", [(0.0, 1.0), SYMMETRIC])
def test_geometry_moves_a_dot_as_drawn_and_fills_with_the_low_end(value_range):
    low, high = value_range
    image = np.full((41, 61), low, "float32")
    image[10:13, 40:43] = high
    augment = Augmentation(rotation=0.1, zoom=0.2, shift=0.1, contrast=0, value_range=value_range, seed=1)
    for position in range(4):
        drawn = {name: float(value[0]) for name, value in augment.draw([position]).items()}
        changed = np.asarray(augment(image[None, ..., None], [position]))[0, ..., 0]
        assert changed.min() == low and changed.max() <= high
        weights = changed - low
        results = [(weights * np.indices(weights.shape)[axis]).sum() / weights.sum() for axis in (0, 1)]
        turn = drawn["rotation"]
        mirror = np.diag([1 - 2 * drawn["flip_horizontal"], 1 - 2 * drawn["flip_vertical"]])
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        x, y = np.linalg.solve(drawn["zoom"] * mirror @ rotation, [41 - 30, 11 - 20])
        expected = [20 + y + drawn["shift_down"] * 41, 30 + x + drawn["shift_right"] * 61]
        np.testing.assert_allclose(results, expected, atol=0.2)


def test_contrast_keeps_the_mean_and_the_range():
    image = np.random.default_rng(0).uniform(0.3, 0.6, (16, 16)).astype("float32")
    changed = _one(image, contrast=0.5, seed=2)
    factor = float(Augmentation(**NOTHING | {"contrast": 0.5, "seed": 2}).draw([0])["contrast"][0])
    assert abs(factor - 1) > 0.05
    np.testing.assert_allclose(changed - image.mean(), (image - image.mean()) * factor, atol=1e-5)
    wide = _one(np.random.default_rng(0).random((16, 16), "float32"), contrast=1.0, seed=5)
    assert wide.min() >= 0 and wide.max() <= 1


def test_everything_off_changes_nothing():
    image = np.random.default_rng(0).random((16, 16), "float32")
    np.testing.assert_array_equal(_one(image), image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip": "sideways"}, "flip must be one of.*Received: 'sideways'"),
        ({"zoom": 1.0}, "zoom must be a number from 0 to below 1. Received: 1.0"),
        ({"rotation": -0.1}, "rotation must be a number from 0 to 0.5, of full turns. Received: -0.1"),
        ({"rotation": 15}, "Received: 15"),
        ({"rotation": (0.1, 0.2)}, r"rotation must be a number.*Received: \(0.1, 0.2\)"),
        ({"shift": 5}, "shift must be a number from 0 to below 1. Received: 5"),
        ({"shift": None}, "Received: None"),
        ({"contrast": float("nan")}, "contrast must be a number from 0 to 1. Received: nan"),
        ({"contrast": 2.0}, "Received: 2.0"),
        ({"seed": 1.5}, "seed must be a whole number, 0 or more. Received: 1.5"),
        ({"seed": -1}, "Received: -1"),
        ({"value_range": (1, 0)}, r"value_range must be \(low, high\).*Received: \(1, 0\)"),
        ({"value_range": (0, float("inf"))}, "two finite numbers"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(DataError, match=message):
        Augmentation(**options)
    Augmentation(rotation=0.5, zoom=np.float32(0.9), shift=0.99, contrast=1, seed=np.int64(3))


@pytest.mark.parametrize(
    ("count", "positions", "received"),
    [
        (4, [5], r"images \(4, 8, 8, 1\), positions \(1,\)"),
        (4, 5, r"positions \(\)"),
        (2, [0.2, 0.7], r"whole numbers.*Received: float32 \(2,\)"),
        (None, [0], r"images\[None\]. Received: images \(8, 8, 1\), positions \(1,\)"),
    ],
)
def test_every_image_of_a_batch_has_a_position(count, positions, received):
    images = np.zeros((8, 8, 1) if count is None else (count, 8, 8, 1), "float32")
    with pytest.raises(DataError, match=received) as error:
        EVERYTHING(images, positions)
    assert "\n" not in str(error.value)


def test_images_and_positions_of_unknown_shape_are_changed_in_a_graph():
    images = _images(4).astype("float32") / 255
    unknown = (tf.TensorSpec(None, tf.float32), tf.TensorSpec(None, tf.int64))

    @tf.function(input_signature=unknown)
    def changed(batch, positions):
        batch.set_shape((None, 16, 16, 1))
        return EVERYTHING(batch, positions)

    np.testing.assert_array_equal(changed(images, np.arange(4)), EVERYTHING(images, range(4)))
    assert EVERYTHING(images[:0], []).shape == (0, 16, 16, 1)


def test_a_layer_with_a_state_of_its_own_is_refused():
    images, labels = np.zeros((4, 8, 8, 1), np.uint8), np.zeros(4)
    with pytest.raises(DataError, match="state of its own"):
        pipeline.batches((images, labels), 4, 2, augment=keras.layers.RandomFlip())
    with pytest.raises(DataError, match="state of its own"):
        make_train_dataset(images, labels, augment=keras.layers.RandomFlip())


WAYS = {
    "stream": lambda root, options: make_train_dataset(_images(), np.arange(24), **options)[0],
    "batches": lambda root, options: pipeline.batches((_images(), np.arange(24)), 24, 8, **options),
    "batched": lambda root, options: data.load("kaggle_fracture", data_dir=root).batched(8, 32, **options),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_augmentation_takes_the_range_of_its_batches(way, dummy_root):
    """In 0 to 1 it would clip symmetric pixels to their upper half, and uncover grey."""
    (pixels, _), (expected, _) = (
        next(iter(WAYS[way](dummy_root, {"pixel_range": SYMMETRIC, "augment": augment})))
        for augment in (Augmentation(seed=1), Augmentation(seed=1, value_range=SYMMETRIC))
    )
    np.testing.assert_array_equal(pixels, expected)
    assert -1 <= pixels.numpy().min() < -0.9


def test_an_augmentation_without_a_range_is_that_of_0_to_1():
    images = np.random.default_rng(0).random((4, 16, 16, 1), "float32")
    changed = Augmentation(contrast=0.9, seed=3)(images, range(4))
    np.testing.assert_array_equal(
        changed, Augmentation(contrast=0.9, seed=3, value_range=UNIT)(images, range(4))
    )
    assert changed.numpy().max() == 1


@pytest.mark.parametrize(
    ("pixels", "received"),
    [
        (lambda images: (images * 255).astype(np.uint8), "uint8 from 0 to 25"),
        (lambda images: images * 255, "float32 from 0.* to 25"),
        (lambda images: tf.constant(images * 2 - 1), "float32 from -0.99"),
        (lambda images: images - 0.5, "float32 from -0.49"),
    ],
)
def test_pixels_of_another_range_than_0_to_1_are_refused_where_none_is_named(pixels, received):
    images = pixels(np.random.default_rng(0).random((4, 16, 16, 1), "float32"))
    with pytest.raises(DataError, match=f"must be floats from 0 to 1.*Received: {received}"):
        Augmentation(seed=3)(images, range(4))
    levels = Augmentation(seed=3, value_range=(0, 255))(np.asarray(images), range(4))
    assert levels.shape == (4, 16, 16, 1)


def test_pixels_of_a_graph_are_told_by_their_type():
    dataset = tf.data.Dataset.from_tensors(np.zeros((4, 16, 16, 1), np.uint8))
    with pytest.raises(DataError, match=r"Received: uint8$"):
        dataset.map(lambda images: Augmentation()(images, range(4)))
    scaled = dataset.map(lambda images: Augmentation()(tf.cast(images, tf.float32) / 255, range(4)))
    assert next(iter(scaled)).shape == (4, 16, 16, 1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("value_range", "pixel_range"), [(UNIT, SYMMETRIC), (SYMMETRIC, UNIT)])
def test_an_augmentation_of_another_range_is_refused(way, value_range, pixel_range, dummy_root):
    options = {"augment": Augmentation(value_range=value_range), "pixel_range": pixel_range}
    with pytest.raises(DataError, match="value_range of an Augmentation must be"):
        WAYS[way](dummy_root, options)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("pixel_range", [(1, 0), (0, np.nan), (0, 0), (-np.inf, 1), None, (0, 1, 2)])
def test_a_range_that_would_invert_images_is_refused(way, pixel_range, dummy_root):
    with pytest.raises(
        DataError, match=r"pixel_range must be \(low, high\), two finite numbers, the lower one"
    ):
        WAYS[way](dummy_root, {"pixel_range": pixel_range})
    for images in (_images(2), tf.constant(_images(2))):
        with pytest.raises(DataError, match="the lower one first"):
            models.preprocessing.scale(images, pixel_range)


def _images(count=24, size=16):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 1), np.uint8)


def _taken(dataset, count):
    return [np.asarray(batch[0]) for batch in itertools.islice(dataset, count)]


def test_a_stream_from_epoch_two_augments_as_one_from_the_start():
    def stream(first):
        return make_train_dataset(
            _images(), np.arange(24), batch_size=7, seed=1, first_epoch=first, steps=4, augment=EVERYTHING
        )[0]

    whole, resumed = _taken(stream(0), 16), _taken(stream(2), 8)
    for one, other in zip(whole[8:], resumed, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (whole[0] != whole[4]).any()


def test_the_number_of_parallel_calls_changes_nothing(monkeypatch):
    results = []
    for workers in (1, 7):
        monkeypatch.setattr(pipeline, "WORKERS", workers)
        results.append(_taken(make_train_dataset(_images(), batch_size=4, augment=EVERYTHING)[0], 12))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("cache", [True, False])
def test_batches_of_records_go_on_with_any_epoch(cache, dummy_root):
    records = data.load("kaggle_fracture", "train", data_dir=dummy_root)

    def epochs(first, count):
        batched = records.batched(
            5, 32, shuffle=7, augment=Augmentation(seed=2), cache=cache, first_epoch=first
        )
        return [np.concatenate([batch[0] for batch in batched]) for _ in range(count)]

    whole = epochs(0, 4)
    np.testing.assert_array_equal(whole[2:], epochs(2, 2))
    assert (whole[0] != whole[1]).any() and (whole[2] != whole[3]).any()


def test_a_look_at_the_first_batches_is_no_epoch(dummy_root):
    records = data.load("kaggle_fracture", "train", data_dir=dummy_root)
    whole, looked_at = (records.batched(4, 32, shuffle=7, augment=Augmentation(seed=2)) for _ in range(2))
    for _ in range(3):
        next(iter(looked_at))
        for one, other in zip(whole, looked_at, strict=True):
            np.testing.assert_array_equal(one[0], other[0])
    assert looked_at.cardinality() == 3


def test_models_of_the_package_go_on_in_the_same_process_as_in_another(dummy_root):
    records = data.load("kaggle_fracture", "train", data_dir=dummy_root)

    def train(*epochs):
        keras.utils.set_random_seed(2)
        model = models.create("compact_cnn", image_size=32, dropout=(0.0, 0.0))
        model.compile(keras.optimizers.SGD(0.01), keras.losses.BinaryCrossentropy(from_logits=True))
        batched = records.batched(5, 32, shuffle=7, augment=Augmentation(seed=2))
        for first, last in itertools.pairwise((0, *epochs)):
            model.fit(batched, initial_epoch=first, epochs=last, verbose=0)
        return model.get_weights()

    for one, other in zip(train(4), train(2, 4), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("cache", [True, False])
def test_the_order_does_not_depend_on_the_seed_of_the_process(cache, dummy_root):
    records = data.load("kaggle_fracture", "train", data_dir=dummy_root)
    orders = []
    for seed in (0, 5):
        keras.utils.set_random_seed(seed)
        batched = records.batched(5, 32, shuffle=7, cache=cache)
        orders.append([np.concatenate([batch[0] for batch in batched]) for _ in range(2)])
    np.testing.assert_array_equal(*orders)


def test_a_resumed_training_with_every_augmentation_equals_the_undisturbed_one(tmp_path):
    images, labels = _images(), np.arange(24) % 2

    def stream(first):
        return make_train_dataset(images, labels, batch_size=8, seed=1, first_epoch=first, augment=EVERYTHING)

    def train(folder, epochs):
        keras.utils.set_random_seed(2)
        layers = [
            keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dropout(0.5), keras.layers.Dense(1),
        ]  # fmt: skip
        model = keras.Sequential([keras.Input((16, 16, 1)), *layers])
        model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
        running.fit(model, stream, epochs, folder, verbose=0)
        return model

    whole = train(tmp_path / "whole", 4)
    train(tmp_path / "cut", 2)
    for one, other in zip(whole.weights, train(tmp_path / "cut", 4).weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_keras_fit_resumed_by_its_initial_epoch_equals_the_undisturbed_one(dummy_root):
    records = data.load("kaggle_fracture", "train", data_dir=dummy_root)

    def train(first, epochs, weights=None):
        keras.utils.set_random_seed(2)
        model = keras.Sequential([keras.Input((32, 32, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.01), keras.losses.BinaryCrossentropy(from_logits=True))
        if weights:
            model.set_weights(weights)
        batched = records.batched(5, 32, shuffle=7, augment=Augmentation(seed=2), first_epoch=first)
        model.fit(batched, initial_epoch=first, epochs=epochs, verbose=0)
        return model.get_weights()

    for one, other in zip(train(0, 4), train(2, 4, train(0, 2)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_row_of_a_batch_is_drawn_alone():
    images = tf.random.stateless_uniform((6, 16, 16, 1), (1, 2))
    whole = np.asarray(EVERYTHING(images, range(10, 16)))
    np.testing.assert_array_equal(EVERYTHING(images[2:4], [12, 13]), whole[2:4])
