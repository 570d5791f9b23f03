import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import models, training
from keras_fracture.data import Augmentation
from keras_fracture.errors import DataError, FractureError
from keras_fracture.experiment.config import configure
from keras_fracture.papers.garcia_inception.config import Config as GarciaInception
from keras_fracture.papers.lisbon_resnet.config import Config as LisbonResNet
from keras_fracture.training.boxes import in_cells


def spots(count=8, side=64):
    """Noise, half of it with a bright square; their boxes and labels."""
    rng = np.random.default_rng(0)
    images, boxes = rng.integers(0, 60, (count, side, side, 1), dtype=np.uint8), []
    for number, image in enumerate(images):
        top, left = rng.integers(0, side - 12, 2)
        if number % 2:
            image[top : top + 12, left : left + 12] = 255
            boxes.append(np.array([[top, left, top + 12, left + 12]]) / side)
        else:
            boxes.append(np.zeros((0, 4)))
    return images, boxes, np.arange(count) % 2


def test_masks_lie_where_boxes_do_and_no_box_is_less_than_a_pixel():
    images = np.full((3, 10, 20, 1), 7, np.uint8)
    tiny = [[0.999, 0.0, 0.9991, 0.0001], [-1e-7, 0.5, 0.1, 1 + 1e-7]]
    both = training.with_masks(images, [[[0.2, 0.25, 0.4, 0.5]], [], tiny])
    assert both.shape == (3, 10, 20, 2) and both.dtype == np.uint8 and (both[..., 0] == 7).all()
    expected = np.zeros((3, 10, 20), np.uint8)
    expected[0, 2:4, 5:10] = 255
    expected[2, 9, 0] = expected[2, 0, 10:] = 255
    np.testing.assert_array_equal(both[..., 1], expected)
    with pytest.raises(ValueError, match="zip"):
        training.with_masks(images, [[]])
    with pytest.raises(DataError, match="ymin, xmin, ymax, xmax"):
        training.with_masks(images, [[], [], [[0.4, 0.2, 0.2, 0.5]]])


def test_masks_move_as_their_images_do_and_keep_their_values():
    images, boxes, _ = spots()
    masks = (training.with_masks(images, boxes)[..., 1:] / 255).astype("float32")
    augment, positions = Augmentation(value_range=(0.0, 1.0), seed=3), np.arange(8)
    same, moved = augment.with_masks(masks, masks, positions)
    np.testing.assert_array_equal(same, augment(masks, positions))
    plain = Augmentation(value_range=(0.0, 1.0), seed=3, contrast=0)
    np.testing.assert_allclose(moved, plain(masks, positions), atol=1e-6)  # contrast leaves masks alone
    assert np.abs(np.asarray(moved) - masks).max() == 1
    # Uncovered corners are no finding, whatever the pixel range.
    both = np.concatenate([2 * masks - 1, 2 * masks - 1], axis=3)
    changed = training.AugmentWithMasks(Augmentation(seed=3)).within((-1.0, 1.0))(both, positions)
    np.testing.assert_allclose(changed[..., 1:], 2 * moved - 1, atol=1e-5)
    other = training.AugmentWithMasks(augment)
    with pytest.raises(DataError, match="value_range of an Augmentation must be the pixel_range"):
        training.make_train_dataset(np.uint8(both), pixel_range=(-1.0, 1.0), augment=other)


@pytest.mark.parametrize(("side", "cells", "row"), [(64, 2, 1), (50, 7, 5), (33, 4, 3)])
def test_a_cell_has_the_highest_value_of_its_mask(side, cells, row):
    mask = np.zeros((1, side, side, 1), "float32")
    mask[0, int((row + 0.5) / cells * side), 1] = 0.5
    expected = np.zeros((cells, cells))
    expected[row, 0] = 0.5
    np.testing.assert_array_equal(in_cells(tf.constant(mask), (cells, cells))[0], expected)


def test_the_loss_is_the_cross_entropy_of_known_cells_by_those_on_a_finding():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4, 3, 3)).astype("float32")
    targets = (rng.random((4, 3, 3)) < 0.3).astype("float32")
    targets[1] = -1.0
    known = targets >= 0
    p = 1 / (1 + np.exp(-logits))
    each = -np.where(targets > 0, np.log(p), np.log(1 - p))
    expected = each[known].sum() / (targets == 1).sum()
    assert float(training.BoxLoss()(targets, logits)) == pytest.approx(expected, rel=1e-5)
    # An image each, or Keras would not divide by the number of replicas, over which optimizers sum.
    assert training.BoxLoss().call(targets, logits).shape == (4,)
    nothing = np.zeros_like(logits)
    assert float(training.BoxLoss()(nothing, logits)) == pytest.approx(-np.log(1 - p).sum(), rel=1e-5)
    assert float(training.BoxLoss()(nothing - 1, logits)) == 0


def test_targets_of_images_whose_finding_nobody_marked_are_unknown():
    images, boxes, labels = spots(4)
    both = training.with_masks(images, boxes)
    model = training.WithBoxes(models.create("resnet18", num_classes=2, width=4, image_size=64, channels=3))
    targets = np.concatenate([np.eye(2)[labels], [[1], [1], [1], [0]]], axis=1).astype("float32")
    stream, _ = training.make_train_dataset(both, targets, batch_size=4, pixel_range=model.pixel_range)
    given, wanted = next(iter(training.split_masks(stream, model)))
    assert given.shape == (4, 64, 64, 3) and wanted["boxes"].shape == (4, *model.cells)
    finding, found = np.asarray(wanted["finding"]), np.asarray(wanted["boxes"])
    assert found[finding[:, 0] == 1].max() == 0
    kinds = sorted((one.min(), one.max()) for one in found[finding[:, 1] == 1])
    assert kinds == [(-1, -1), (0, 1)]


def test_a_network_learns_where_findings_lie_and_its_logits_stay_its_own():
    keras.utils.set_random_seed(0)
    images, boxes, labels = spots(32)
    network = models.create("resnet18", num_classes=2, width=8, image_size=64, channels=1)
    model = training.WithBoxes(network)
    scaled = models.preprocessing.scale(images, network.pixel_range)
    outputs = model(scaled)
    np.testing.assert_array_equal(outputs["finding"], network(scaled))
    assert float(keras.ops.mean(keras.ops.sigmoid(outputs["boxes"]))) < 0.1  # findings are rare
    model.compile(
        keras.optimizers.Adam(3e-3),
        {"finding": keras.losses.CategoricalCrossentropy(from_logits=True), "boxes": training.BoxLoss()},
    )
    targets = np.concatenate([np.eye(2)[labels], np.ones((32, 1))], axis=1).astype("float32")
    stream, steps = training.make_train_dataset(
        training.with_masks(images, boxes), targets, batch_size=16, pixel_range=network.pixel_range
    )
    history = model.fit(
        training.split_masks(stream, model), steps_per_epoch=steps, epochs=25, verbose=0
    ).history["boxes_loss"]
    assert history[-1] < 0.5 * history[0]
    hottest = np.asarray(model(scaled)["boxes"]).reshape(32, -1).argmax(axis=1)
    masks = tf.constant(training.with_masks(images, boxes)[..., 1:], tf.float32)
    on_finding = np.asarray(in_cells(masks, model.cells)).reshape(32, -1)[np.arange(32), hottest]
    assert (on_finding[labels == 1] == 255).mean() > 0.8


def test_what_learns_boxes_is_saved_and_released_as_the_network(tmp_path):
    from keras_fracture.serving.releasing import of_keras

    model = training.WithBoxes(models.create("compact_cnn", image_size=32))
    model.save(tmp_path / "both.keras")
    images = np.random.default_rng(0).random((2, 32, 32, 1), "float32")
    again = keras.saving.load_model(tmp_path / "both.keras")
    for name, values in model(images).items():
        np.testing.assert_array_equal(again(images)[name], values)
    np.testing.assert_array_equal(of_keras(tmp_path / "both.keras")(images), model.classifier(images))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"body_parts": True}, "body_parts and box_weight add to the loss"),
        ({"teacher": "efficientnet_lite0_ensemble"}, "box_weight and teacher add to the loss"),
        ({"balanced": True}, "does not go with box_weight"),
    ],
)
def test_boxes_go_with_nothing_else_that_adds_to_the_loss(other, message):
    with pytest.raises(FractureError, match=message):
        configure(LisbonResNet, "smoke", box_weight=0.3, **other)
    with pytest.raises(FractureError, match="doubled=False"):
        configure(GarciaInception, "smoke", box_weight=0.3)
