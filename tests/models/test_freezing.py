"""What is frozen stays so in files and copies, for whatever trains a network from there."""

import copy

import keras
import numpy as np
import pytest

from keras_fracture import models, serving, training
from keras_fracture.models.efficientnet_lite import InvertedResidual
from keras_fracture.models.inception import InceptionBlock
from keras_fracture.models.resnet import BasicBlock
from keras_fracture.models.unit import ResidualBlock
from tests.models.test_policies import TINY, tiny

NAMES = ("resnet18", "drn_c_26", "drn_d_22", *TINY)


def learnt(model):
    """Which variables a model around this one would train: these know no `trainable` of the layers they are in."""
    return [place for place, one in enumerate(model.variables) if one.trainable]


def filed(model, folder):
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


def exported(model, folder):
    serving.export(model, folder / "saved")
    return models.load(folder / "saved")


WAYS = {
    "file": filed,
    "copy": lambda model, folder: copy.deepcopy(model),
    "clone": lambda model, folder: keras.models.clone_model(model),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_frozen_network_is_built_frozen(name):
    network = tiny(name)
    assert learnt(network)
    network.trainable = False
    again = type(network).from_config(network.get_config())
    assert not again.trainable and not learnt(again)
    assert not learnt(tiny(name, trainable=False))
    again.trainable = True
    network.trainable = True
    assert learnt(again) == learnt(network) != []


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("name", ["resnet18", "compact_cnn"])
def test_a_model_around_a_frozen_network_trains_its_own_layers_alone(name, way, tmp_path):
    network = tiny(name)
    network.trainable = False
    images = np.random.default_rng(0).random((4, 32, 32, network.channels), dtype="float32")
    again = way(network, tmp_path)
    maps = keras.layers.Flatten()(again.features(inputs := keras.Input(images.shape[1:])))
    for around in (
        keras.Sequential([keras.Input(images.shape[1:]), again, keras.layers.Dense(1)]),
        way(keras.Model(inputs, keras.layers.Dense(1)(maps)), tmp_path),  # saved with the head
    ):
        assert len(around.trainable_variables) == 2
    np.testing.assert_array_equal(again(images, training=True), again(images))  # no statistics of the batch


def test_a_frozen_network_of_a_saved_model_is_frozen(tmp_path):
    network = tiny("compact_cnn")
    network.trainable = False
    assert not learnt(exported(network, tmp_path))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_parts_that_are_frozen_stay_so(way, tmp_path):
    network = tiny("resnet18")
    before = learnt(network)
    for part in (network.conv1, network.bn1, network.layer1, network.layer3.layers[0].bn2):
        part.trainable = False
    assert 0 < len(learnt(network)) < len(before)
    again = way(network, tmp_path)
    assert learnt(again) == learnt(network)
    assert again.trainable and not again.layer1.trainable and again.layer3.trainable
    network.trainable = False
    network.layer4.trainable = True
    again = way(network, tmp_path)
    assert not again.trainable and learnt(again) == learnt(network) != []


def test_configurations_name_parts_only_where_some_are_frozen():
    network = tiny("resnet18")
    assert "frozen" not in network.get_config()
    network.trainable = False
    assert "frozen" not in network.get_config()
    network.trainable = True
    network.layer2.trainable = False
    names = ["", "/0", "/0/conv1", "/0/bn1", "/0/conv2", "/0/bn2", "/0/downsample"]
    frozen = network.get_config()["frozen"]
    assert [name for name in frozen if "downsample/" not in name] == [f"layer2{name}" for name in names]


@pytest.mark.parametrize(
    "block", [BasicBlock(4, project=True), InceptionBlock(4, 2), InvertedResidual(4), ResidualBlock(4)]
)
def test_a_frozen_block_is_built_frozen(block):
    block.trainable = False
    around = keras.Sequential([keras.Input((8, 8, 4)), type(block).from_config(block.get_config())])
    assert around.weights and not around.trainable_variables


@pytest.mark.parametrize("frozen", ["by_it", "before", "but_for_a_part"])
def test_a_teacher_is_frozen_in_files_and_adam_goes_on(frozen, tmp_path):
    classifier, teacher = tiny("resnet18"), tiny("resnet18")
    teacher.trainable = frozen == "by_it"
    teacher.layer4.trainable = frozen != "before"
    both = training.WithTeacher(classifier, filed(teacher, tmp_path))
    assert learnt(both.teacher) == [] and len(both.trainable_variables) == len(learnt(classifier)) + 2
    both.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    both.optimizer.build(both.trainable_variables)
    both.optimizer.iterations.assign(2)
    again = filed(both, tmp_path)
    assert learnt(again) == learnt(both) and again.optimizer.iterations == 2


def test_the_head_of_what_trains_a_classifier_stays_frozen():
    both = training.WithBodyPart(tiny("resnet18"), 3)
    both.head.trainable = False
    both.classifier.conv1.trainable = False
    assert learnt(type(both).from_config(both.get_config())) == learnt(both)
