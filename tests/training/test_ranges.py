"""A training on images in another range than the model's is refused before its first step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import models, training
from keras_fracture.errors import TrainingError
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


@pytest.mark.parametrize("wrong", [UNIT, (0.0, 255.0)])
@pytest.mark.parametrize("batch_size", [1, 8, 40])
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
