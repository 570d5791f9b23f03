"""Models of two optimizers, saved while they are trained and trained on from the file."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import models
from keras_fracture.errors import TrainingError
from keras_fracture.training import losses
from keras_fracture.training.adversarial import AdversarialModel, TwoOptimizers
from keras_fracture.training.augmentation import AdaptiveAugment
from keras_fracture.training.unit import UNITModel


@pytest.fixture(autouse=True)
def eager():
    """A step in graph mode takes most of its time to be traced."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def gan():
    keras.utils.set_random_seed(5)
    model = AdversarialModel(
        models.create("dense_gan_generator", latent_dim=8, image_size=16, channels=1, width=1 / 16),
        models.create("dense_gan_discriminator", image_size=16, channels=1, width=1 / 8),
        ema=0.9,
        seed=3,
        augment=AdaptiveAugment(probability=0.4, images=60, seed=2),
    )
    schedule = keras.optimizers.schedules.CosineDecay(1e-2, 9)
    model.compile(
        g_optimizer=keras.optimizers.Adam(1e-3, 0.5),
        d_optimizer=keras.optimizers.Adam(schedule, 0.5),
        loss=losses.NonSaturating("mean", smoothing=0.1),
    )
    return model, images(16)


def unit():
    keras.utils.set_random_seed(5)
    shape = {"image_size": 16, "channels": 1, "width": 2}
    discriminators = (models.create("unit_discriminator", **shape) for _ in range(2))
    model = UNITModel(models.create("unit", **shape), *discriminators)
    model.compile()
    return model, (images(16), images(16))


def images(size):
    return tf.constant(np.random.default_rng(0).uniform(-1, 1, (4, size, size, 1)), "float32")


def steps(model, batch, count):
    data = tf.data.Dataset.from_tensors(batch).repeat()
    return model.fit(data, epochs=1, steps_per_epoch=count, shuffle=False, verbose=0).history


@pytest.mark.parametrize("make", [gan, unit])
def test_a_reloaded_model_trains_on_as_the_original(make, tmp_path):
    model, batch = make()
    steps(model, batch, 1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.adversarial_loss.__dict__ == model.adversarial_loss.__dict__
    assert int(loaded.g_optimizer.iterations) == 1
    ours, theirs = steps(model, batch, 1), steps(loaded, batch, 1)
    for name, value in ours.items():
        np.testing.assert_allclose(theirs[name], value, rtol=1e-6, err_msg=name)
    for one, other in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-7, err_msg=one.path)


@pytest.mark.parametrize("make", [gan, unit])
def test_not_compiled_it_says_how_in_one_line(make, tmp_path):
    model, batch = make()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    with pytest.raises(TrainingError, match=r"^Call compile\(g_optimizer=.*, d_optimizer=.*Received: .*$"):
        steps(loaded, batch, 1)


def test_files_of_earlier_versions_load_without_random_states(tmp_path, monkeypatch):
    model, batch = gan()
    with monkeypatch.context() as earlier:
        earlier.delattr(TwoOptimizers, "save_own_variables")
        earlier.delattr(TwoOptimizers, "get_compile_config")
        model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    with pytest.raises(TrainingError, match="Call compile"):
        steps(loaded, batch, 1)
    for one, other in zip(model.generator.weights, loaded.generator.weights, strict=True):
        np.testing.assert_array_equal(other, one)


def test_a_file_with_an_average_that_was_never_used_loads(tmp_path):
    model, batch = gan()
    model.g_optimizer.use_ema = True  # which `compile` of earlier versions took
    model.save(tmp_path / "gan.keras")
    with pytest.warns(UserWarning, match="not compiled as it was saved.*use_ema=True"):
        loaded = keras.saving.load_model(tmp_path / "gan.keras")
    np.testing.assert_array_equal(loaded.sample(2), model.sample(2))
    with pytest.raises(TrainingError, match=r"^Call compile"):
        steps(loaded, batch, 1)


def test_a_loss_of_another_package_is_compiled_anew(tmp_path):
    class Other(losses.Hinge):
        pass

    model, batch = gan()
    model.compile(g_optimizer=keras.optimizers.Adam(), d_optimizer=keras.optimizers.Adam(), loss=Other())
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    with pytest.raises(
        TrainingError, match=r"^The file.* loss of your own, Other, .*loss=Other\(\.\.\.\)\) before fit"
    ):
        steps(loaded, batch, 1)
    loaded.compile(g_optimizer=keras.optimizers.Adam(), d_optimizer=keras.optimizers.Adam(), loss=Other())
    assert len(steps(loaded, batch, 1)["d_loss"]) == 1


@pytest.mark.parametrize(
    "loss",
    [losses.Hinge(), losses.LeastSquares(1.0), losses.Wasserstein(3.0), losses.NonSaturating("mean", 0.2)],
)
def test_a_loss_is_built_again_from_its_configuration(loss):
    again = losses.get(**losses.config_of(loss))
    assert type(again) is type(loss) and vars(again) == vars(loss)
