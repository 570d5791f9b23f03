"""Images in another range than the model's are refused before the first step, as they are where it is asked."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import models, training
from keras_fracture.errors import ModelError, TrainingError
from keras_fracture.models.preprocessing import SYMMETRIC, UNIT

SMALL = {"image_size": 32, "width": 2, "channels": 1}


def gan():
    generator, discriminator = (
        models.create(name, **SMALL) for name in ("dcgan_generator", "dcgan_discriminator")
    )
    model = training.AdversarialModel(generator, discriminator)
    model.compile(g_optimizer=training.Adam(1e-4), d_optimizer=training.Adam(1e-4))
    return model


def unit():
    small = {"image_size": 16, "width": 2, "channels": 1}
    discriminators = (models.create("unit_discriminator", **small) for _ in range(2))
    model = training.UNITModel(models.create("unit", **small), *discriminators)
    model.compile()
    return model


def classifier(parts=0):
    model = models.create("resnet18", image_size=32, width=4, channels=1, num_classes=2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = training.WithBodyPart(model, parts) if parts else model
    model.compile("sgd", {"finding": loss, "body_part": loss} if parts else loss)
    return model


@pytest.fixture(scope="module")
def images():
    drawn = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 1), np.uint8)
    drawn[:, :4] = 0  # the dark border of an X-ray
    return drawn


def message(low, high):
    return rf"must lie between {low} and {high}.*Received: \d+ images from"


@pytest.mark.parametrize(("wrong", "batch_size"), [(UNIT, 1), ((0.0, 255.0), 8), (UNIT, 40)])
def test_a_gan_of_minus_one_to_one_refuses_other_ranges(images, tmp_path, wrong, batch_size):
    model = gan()
    before = model.generator.get_weights()
    stream = lambda first: training.make_train_dataset(images, batch_size=batch_size, pixel_range=wrong)  # noqa: E731
    with pytest.raises(TrainingError, match=message(-1, 1)):
        training.fit(model, stream, 1, tmp_path, verbose=0)
    with pytest.raises(TrainingError, match=message(-1, 1)) as caught:
        model.fit(stream(0)[0], steps_per_epoch=1, verbose=0)
    assert "\n" not in str(caught.value)
    for old, new in zip(before, model.generator.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert not (tmp_path / "history.csv").exists()
    model.fit(training.make_train_dataset(images, pixel_range=SYMMETRIC)[0], steps_per_epoch=1, verbose=0)


def test_both_kinds_of_a_translators_images_are_looked_at(images):
    small, model = images[:, :16, :16], unit()

    def pairs(*ranges):
        streams = [training.make_train_dataset(small, batch_size=1, pixel_range=one)[0] for one in ranges]
        return tf.data.Dataset.zip(*streams).map(lambda a, b: (*a, *b))

    for wrong in ((UNIT, SYMMETRIC), (SYMMETRIC, UNIT), (UNIT, UNIT)):
        with pytest.raises(TrainingError, match=message(-1, 1)):
            model.fit(pairs(*wrong), steps_per_epoch=1, verbose=0)
    model.fit(training.pairs_of(small, small)[0], steps_per_epoch=1, verbose=0)


@pytest.mark.parametrize("wrong", [SYMMETRIC, (0.0, 255.0)])
@pytest.mark.parametrize("parts", [0, 3])
def test_a_classifier_of_zero_to_one_refuses_other_ranges(images, wrong, parts):
    labels = np.arange(40) % 2
    model = classifier(parts)
    dataset, _ = training.make_train_dataset(images, labels, pixel_range=wrong)
    with pytest.raises(TrainingError, match=message(0, 1)):
        model.fit(dataset, steps_per_epoch=1, verbose=0)
    arrays = images.astype("float32") * (wrong[1] - wrong[0]) / 255 + wrong[0]
    with pytest.raises(TrainingError, match=message(0, 1)):
        model.fit(arrays, labels, verbose=0)


@pytest.mark.parametrize(
    "scaled", [lambda images: images / 255 / 255, lambda images: (images / 127.5 - 1) / 127.5 - 1]
)
def test_images_that_were_scaled_twice_are_refused(images, scaled):
    twice = scaled(images.astype("float32"))
    model = gan() if twice.min() < 0 else classifier()
    with pytest.raises(TrainingError, match=r"must lie between.*Received: 40 images"):
        model.fit(twice, *([] if twice.min() < 0 else [np.arange(40) % 2]), batch_size=20, verbose=0)
    model = models.create("resnet18", image_size=32, width=4, channels=1, num_classes=2)
    if twice.min() >= 0:
        with pytest.raises(ModelError, match=r"to predict must.*Received: \d+ images from 0 to 0.0039"):
            model.predict(twice, verbose=0)
        blank = np.float32([[0, 1 / 255], [0, 0]]).repeat(16, 0).repeat(16, 1)[None, ..., None]
        assert model.predict(blank, verbose=0).shape == (1, 2), "one X-ray may be blank"
        grey = 0.5 + twice  # as a GAN draws before it is trained
        classifier().fit(grey, np.arange(40) % 2, batch_size=20, verbose=0)


def test_what_lies_in_the_range_is_no_false_alarm(images):
    bright = np.maximum(images, 130)  # all-bright images, and augmentation that overshoots
    labels = np.arange(40) % 2
    over = bright.astype("float32") / 255 * 1.4
    classifier().fit(over, labels, batch_size=20, verbose=0)
    even = np.full((40, 32, 32, 1), 128, np.uint8)
    mixed = np.concatenate([bright[:30], images[:2]])  # few images with a border among many without
    for some in (even, mixed):
        dataset, _ = training.make_train_dataset(some, batch_size=1, pixel_range=SYMMETRIC)
        gan().fit(dataset, steps_per_epoch=1, verbose=0)
    passed = (one for one in [(over[:4], labels[:4])] * 2)
    classifier().fit(passed, steps_per_epoch=2, verbose=0)  # nothing of a generator is taken away


LABELS = np.arange(40) % 2


class Batches(keras.utils.PyDataset):
    """Three batches of a Keras user; the first is read as often as any, and none behind the last."""

    def __init__(self, images):
        super().__init__()
        self.images = images

    def __len__(self):
        return 3

    def __getitem__(self, number):
        assert 0 <= number < 3
        return self.images[12 * number :][:12], LABELS[:12]


def asked(model, images):
    """What a Keras user may do with images, by name."""
    dataset = tf.data.Dataset.from_tensor_slices((images, LABELS)).batch(10)
    own = tf.data.Dataset.from_tensor_slices((np.zeros_like(images), LABELS)).batch(10)
    few = images[:4], LABELS[:4]
    return {
        "evaluate": lambda: model.evaluate(images, LABELS, verbose=0),
        "evaluate a dataset": lambda: model.evaluate(dataset, verbose=0),
        "evaluate a PyDataset": lambda: model.evaluate(Batches(images), verbose=0),
        "predict": lambda: model.predict(images, verbose=0),
        "predict of a dataset": lambda: model.predict(dataset, verbose=0),
        "predict by keyword": lambda: model.predict(x=images, verbose=0),
        "train on a batch": lambda: model.train_on_batch(*few),
        "test on a batch": lambda: model.test_on_batch(*few),
        "predict on a batch": lambda: model.predict_on_batch(few[0]),
        "fit to a PyDataset": lambda: model.fit(Batches(images), verbose=0),
        "validate": lambda: model.fit(own, validation_data=(images, LABELS), verbose=0),
        "validate by place": lambda: model.fit(own, None, None, 1, 0, None, 0.0, dataset),
    }


WAYS = list(asked(None, np.zeros((40, 32, 32, 1), "float32")))


@pytest.mark.parametrize("way", WAYS)
def test_a_model_is_asked_and_measured_with_its_range_alone(images, way):
    model = classifier()
    before = model.get_weights()
    for factor, offset in ((1, 0), (1 / 127.5, -1)):
        with pytest.raises((ModelError, TrainingError), match=message(0, 1)) as caught:
            asked(model, images.astype("float32") * np.float32(factor) + offset)[way]()
        assert "\n" not in str(caught.value)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("shift", [-0.5, -0.2, 0.1])
def test_shifted_images_are_neither_measured_nor_asked_about(images, shift):
    model = classifier()
    ways = asked(model, images / np.float32(255) + np.float32(shift))
    for way in set(WAYS) - {"train on a batch", "fit to a PyDataset"}:  # which leave room for augmentation
        with pytest.raises(ModelError, match=message(0, 1)):
            ways[way]()
    ways["train on a batch"]()


@pytest.mark.parametrize("method", ["bicubic", "lanczos5"])
def test_what_resizing_overshoots_by_is_taken(radiographs, method):
    one = np.stack([tf.image.resize(each[..., None] / 255, (64, 64), method) for each in radiographs])
    one[:, 30:33, 30:33] = [[[-0.3], [1.3], [-0.3]]] * 3  # a letter of lead, whose rims overshoot most
    model = models.create("resnet18", image_size=64, width=4, channels=1, num_classes=2)
    for few in (one, one[:1]):
        assert model.predict(few.astype("float32"), verbose=0).shape == (len(few), 2)


def test_images_in_the_range_are_taken_every_way(images):
    model = classifier()
    for ask in asked(model, images.astype("float32") / 255).values():
        ask()
    model.pixel_range = None  # whoever knows better
    for way in ("evaluate", "predict", "validate"):
        asked(model, images.astype("float32"))[way]()


@pytest.mark.parametrize("wrap", [lambda images: [images], lambda images: {"images": images}])
def test_arrays_in_a_list_or_dict_are_looked_into(images, wrap):
    with pytest.raises(TrainingError, match=message(0, 1)):
        classifier().fit(wrap(images), LABELS, verbose=0)


def test_an_ensemble_trains_in_its_members_range(images):
    model = models.Ensemble([classifier(), classifier()])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(TrainingError, match=message(0, 1)):
        model.fit(images.astype("float32"), LABELS, verbose=0)
    model.fit(images.astype("float32") / 255, LABELS, batch_size=20, verbose=0)


def test_a_bright_patch_may_be_asked_about_and_a_generator_keeps_its_first_batch(images):
    bright = np.maximum(images[:1, :16, :16], 140)
    translator = unit().translator
    translator.predict(bright / np.float32(127.5) - 1, verbose=0)
    with pytest.raises(ModelError, match=message(-1, 1)):
        translator.predict(bright.astype("float32"), verbose=0)
    passed = (one for one in [(images[:4] / np.float32(255), LABELS[:4])] * 2)
    assert classifier().predict(passed, verbose=0).shape == (8, 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_images_that_are_not_finite_are_refused_every_way(images, bad):
    model, spoilt = classifier(), images / np.float32(255)
    spoilt[::12, 5, 5] = bad
    before = model.get_weights()
    for ask in asked(model, spoilt).values():
        with pytest.raises(
            (ModelError, TrainingError), match=r"finite numbers from 0 to 1\. Received: NaN or inf"
        ):
            ask()
    blank = np.zeros((2, 32, 32, 1), "float32")
    assert np.isfinite(model.predict(blank, verbose=0)).all(), "one X-ray may be blank"
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_training_that_leaves_weights_that_are_not_finite_says_so(images, caplog):
    model, spoilt = classifier(), np.tile(images / np.float32(255), (7, 1, 1, 1))
    model.fit(spoilt, np.arange(280) % 2, batch_size=140, verbose=0)
    assert "finite" not in caplog.text
    spoilt[270, 5, 5] = np.nan  # behind the images that are looked at
    model.fit(spoilt, np.arange(280) % 2, batch_size=140, verbose=0)
    (said,) = (one for one in caplog.messages if "finite" in one)  # TensorFlow may say something, too
    assert "not finite after this training" in said and "Received: NaN or infinity in " in said


@pytest.mark.filterwarnings("error:The images to")
def test_images_of_another_size_than_the_models_are_warned_of(images):
    model, scaled = classifier(), images / np.float32(255)
    larger = scaled.repeat(2, 1).repeat(2, 2)
    for ask in asked(model, larger).values():
        with pytest.warns(
            UserWarning, match=r"of another size than the model's.*at 32 x 32 pixels. Received: \(\d+, 64"
        ):
            ask()
    with pytest.warns(UserWarning, match=r"to predict are of another size"):
        models.Ensemble([classifier(), classifier()]).predict(larger, verbose=0)
    asked(model, scaled)["validate"]()
    fixed = models.create("compact_cnn", image_size=32)
    with pytest.raises(
        ModelError, match=r"to predict must be of the model's size.*at 32 x 32.*\(2, 64, 64, 1\)"
    ):
        fixed.predict(larger[:2], verbose=0)
    with pytest.warns(UserWarning, match="to predict are of another size"):
        fixed.predict(larger[:2, :33, :33], verbose=0)  # of which its convolutions make maps of the same size
    small = {"image_size": 32, "width": 4, "depths": (1, 1, 1, 1), "channels": 1, "num_classes": 2}
    for free in ({"image_size": None}, {"include_top": False}):  # which take any
        models.create("resnet18", **small | free).predict(larger[:2], verbose=0)
