"""The training of `bai_dcgan`'s networks: labels, augmentation, penalties, and one step beside PyTorch."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import models
from keras_fracture.errors import ModelError, TrainingError
from keras_fracture.models.preprocessing import SYMMETRIC
from keras_fracture.training import AdaptiveAugment, AdversarialModel, DiffAugment, callbacks, losses, running

TINY = {"image_size": 32, "width": 2, "channels": 1}


def _networks(seed=5, **options):
    keras.utils.set_random_seed(seed)
    shape = TINY | options
    return models.create("dcgan_generator", **shape), models.create("dcgan_discriminator", **shape)


def _model(classes=None, rate=1e-3, loss=None, **options):
    model = AdversarialModel(*_networks(num_classes=classes), seed=3, **options)
    model.compile(g_optimizer=keras.optimizers.SGD(rate), d_optimizer=keras.optimizers.SGD(rate), loss=loss)
    return model


def _real(count=6):
    return tf.constant(np.random.default_rng(0).uniform(-1, 1, (count, 32, 32, 1)), "float32")


LABELS = tf.constant([0, 1, 2, 0, 1, 2])


def test_generated_images_get_the_labels_of_the_real_batch():
    model = _model(3, rate=0.0)
    seeds = keras.random.SeedGenerator(3)
    fake = model.generator(keras.random.normal((6, 100), seed=seeds), LABELS, training=True)
    logits = [model.discriminator(x, LABELS, training=True) for x in (_real(), fake)]
    logs = model.train_step((_real(), LABELS))
    assert float(logs["d_loss"]) == pytest.approx(
        float(losses.NonSaturating().discriminator(*logits)), rel=1e-5
    )
    assert float(logs["g_loss"]) == pytest.approx(
        float(losses.NonSaturating().generator(logits[1])), rel=1e-5
    )


def test_a_second_draw_is_fresh_noise_for_the_generator_alone():
    logs = {
        fresh_noise: _model(rate=0.0, fresh_noise=fresh_noise).train_step(_real())
        for fresh_noise in (False, True)
    }
    assert float(logs[True]["d_loss"]) == pytest.approx(float(logs[False]["d_loss"]), rel=1e-6)
    model, seeds = _model(rate=0.0), keras.random.SeedGenerator(3)
    drawn = [keras.random.normal((6, 100), seed=seeds) for _ in range(2)]
    for fresh_noise in (False, True):
        logits = model.discriminator(model.generator(drawn[fresh_noise], training=True), training=True)
        expected = float(losses.NonSaturating().generator(logits))
        assert float(logs[fresh_noise]["g_loss"]) == pytest.approx(expected, rel=1e-5)
    assert abs(float(logs[True]["g_loss"] - logs[False]["g_loss"])) > 1e-6


def test_penalties_are_added_with_their_weights_at_the_augmented_images():
    def d_loss(**options):
        return float(_model(rate=0.0, augment=DiffAugment(seed=1), **options).train_step(_real())["d_loss"])

    model, augment = _model(rate=0.0), DiffAugment(seed=1)
    augmented = augment(_real())
    r1 = float(losses.r1_penalty(lambda images: model.discriminator(images, training=True), augmented))
    assert r1 > 0 and d_loss(r1=50.0) - d_loss() == pytest.approx(50 * r1, rel=1e-3)
    seeds = keras.random.SeedGenerator(3)
    fake = augment(model.generator(keras.random.normal((6, 100), seed=seeds), training=True))
    penalty = float(losses.gradient_penalty(
        lambda images: model.discriminator(images, training=True), augmented, fake, seeds
    ))  # fmt: skip
    added = d_loss(loss="wasserstein") - d_loss(loss=losses.Wasserstein(0.0))
    assert added == pytest.approx(10 * penalty, rel=1e-3)


def test_the_class_loss_is_each_networks_cross_entropy_of_the_classes():
    plain, model = _model(3, rate=0.0), _model(3, rate=0.0, auxiliary=0.5)
    seeds = keras.random.SeedGenerator(3)
    fake = model.generator(keras.random.normal((6, 100), seed=seeds), LABELS, training=True)
    _, on_real = model.discriminator.call_with_classes(_real(), LABELS, training=True)
    _, on_fake = model.discriminator.call_with_classes(fake, LABELS, training=True)
    without, with_loss = (one.train_step((_real(), LABELS)) for one in (plain, model))
    for name, logits in (("d_loss", on_real), ("g_loss", on_fake)):
        mistaken = -np.log(keras.ops.softmax(logits).numpy()[np.arange(6), LABELS]).mean()
        assert mistaken > 0.1
        assert float(with_loss[name]) == pytest.approx(float(without[name]) + 0.5 * mistaken, rel=1e-5)


def test_a_class_loss_needs_classes():
    with pytest.raises(ModelError, match=r"auxiliary needs networks with classes. Received: 1.0"):
        _model(auxiliary=1.0)
    with pytest.raises(ModelError, match=r"0 or more.*Received: -1"):
        _model(3, auxiliary=-1)
    dense = [models.create(f"dense_gan_{name}", image_size=16, channels=1, width=1 / 16)
             for name in ("generator", "discriminator")]  # fmt: skip
    with pytest.raises(ModelError, match=r"such as dcgan_discriminator. Received: 1.0, DenseDiscriminator"):
        AdversarialModel(*dense, auxiliary=1.0)


def test_the_generator_learns_through_the_augmentation():
    model = _model(rate=0.0, augment=DiffAugment(seed=1))
    model.g_optimizer.learning_rate.assign(0.5)
    augment, noise = DiffAugment(seed=1), keras.random.normal((6, 100), seed=keras.random.SeedGenerator(3))
    for _ in range(2):
        augment(_real())
    before = model.generator.get_weights()
    with tf.GradientTape() as tape:
        fake = augment(model.generator(noise, training=True))
        loss = losses.NonSaturating().generator(model.discriminator(fake, training=True))
    gradients = tape.gradient(loss, [weight.value for weight in model.generator.trainable_variables])
    model.generator.set_weights(before)
    old = [weight.numpy() for weight in model.generator.trainable_variables]
    model.train_step(_real())
    for start, gradient, weight in zip(old, gradients, model.generator.trainable_variables, strict=True):
        assert np.abs(gradient).max() > 0
        np.testing.assert_allclose(weight.numpy(), start - 0.5 * gradient.numpy(), atol=1e-6)


def test_configuration_and_file_round_trip_with_everything_on(tmp_path):
    augment = AdaptiveAugment(probability=0.4, images=60, seed=2)
    model = _model(3, augment=augment, fresh_noise=True, r1=0.1, ema=0.9, auxiliary=0.5)
    model.train_step((_real(), LABELS))
    assert float(model.augment.probability) != pytest.approx(0.4)
    model.save(tmp_path / "gan.keras")
    loaded = keras.saving.load_model(tmp_path / "gan.keras", compile=False)
    assert (loaded.fresh_noise, loaded.r1, loaded.ema, loaded.auxiliary) == (True, 0.1, 0.9, 0.5)
    assert loaded.augment.get_config() == augment.get_config()
    assert float(loaded.augment.probability) == float(model.augment.probability)
    np.testing.assert_array_equal(loaded.sample(4, labels=[2, 2, 0, 1]), model.sample(4, labels=[2, 2, 0, 1]))


def test_kth_sample_depends_on_seed_k_and_label_alone():
    model = _model(3)
    model.generator.main.layers[-2].kernel.assign(model.generator.main.layers[-2].kernel * 50)  # off grey
    many = model.sample(7, seed=4)
    np.testing.assert_array_equal(many, model.sample(7, seed=4, labels=np.arange(7) % 3))
    np.testing.assert_array_equal(model.sample(4, seed=4), many[:4])
    others = model.sample(7, seed=4, labels=[0, 1, 2, 1, 1, 2, 0])
    assert (others != many).any(axis=(1, 2, 3)).tolist() == [False] * 3 + [True] + [False] * 3
    for labels in ([0, 1], [0, 1, 3], [0, 1, 0.5]):
        with pytest.raises(ModelError, match=r"labels must be 3 numbers from 0 to 2\. Received: "):
            model.sample(3, labels=labels)
    with pytest.raises(ModelError, match="has no classes"):
        _model().sample(2, labels=[0, 1])


def test_networks_and_images_that_do_not_fit_are_refused():
    grey, rgb = _networks()[0], _networks(channels=3)[1]
    with pytest.raises(ModelError, match=r"same channels\. Received: 1 and 3"):
        AdversarialModel(grey, rgb)
    with pytest.raises(ModelError, match=r"same num_classes\. Received: 2 and None"):
        AdversarialModel(_networks(num_classes=2)[0], _networks()[1])
    with pytest.raises(ModelError, match="r1 must be 0 or more"):
        _model(r1=-1.0)
    with pytest.raises(
        TrainingError, match=r"^The networks take images of 1 channels: .* Received: 3 channels$"
    ):
        _model().fit(tf.data.Dataset.from_tensors(tf.zeros((2, 32, 32, 3))), verbose=0)
    with pytest.raises(TrainingError, match=r"^Networks with classes .* Received: images$"):
        _model(2).fit(tf.data.Dataset.from_tensors(_real()), verbose=0)


@pytest.mark.parametrize("count", [1, 5])
def test_fewer_images_than_a_batch_train_also_a_single_one(count, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 1), np.uint8)

    def stream(first):
        return running.make_train_dataset(images, batch_size=32, first_epoch=first, pixel_range=SYMMETRIC)

    model = _model(augment=DiffAugment(), fresh_noise=True)
    history = running.fit(model, stream, 2, tmp_path, verbose=0)
    assert np.isfinite(history.to_numpy()).all() and len(history) == 2
    assert np.isfinite(model.generator(np.zeros((1, 100), "float32"))).all()


def _run(folder, epochs, spoil=None, interrupt=None):
    """The DCGAN with classes, adaptive augmentation and average, three steps an epoch."""
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 1), np.uint8)
    traced = []

    class Counted(AdversarialModel):
        def train_step(self, data):
            traced.append(1)
            return super().train_step(data)

    class Disturb(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            done = self.model.d_optimizer.iterations.numpy()
            if done == spoil:
                weight = self.model.discriminator.trainable_variables[0]
                weight.assign(weight * np.nan)
            if done == interrupt:
                raise KeyboardInterrupt

    def stream(first):
        return running.make_train_dataset(
            images, np.arange(12) % 3, batch_size=4, seed=1, first_epoch=first, pixel_range=SYMMETRIC
        )

    augment = AdaptiveAugment(probability=0.5, images=100, seed=3)
    model = Counted(*_networks(num_classes=3), ema=0.9, seed=3, augment=augment, fresh_noise=True)
    g_optimizer, d_optimizer = (keras.optimizers.Adam(2e-3, 0.5, 0.999) for _ in range(2))
    model.compile(g_optimizer=g_optimizer, d_optimizer=d_optimizer, loss="hinge")
    history = running.fit(model, stream, epochs, folder, callbacks=[Disturb()], verbose=0)
    return model, history, len(traced)


def test_a_run_cut_off_resumes_to_the_same_weights_and_traces_once(tmp_path):
    whole, expected, traced = _run(tmp_path / "whole", 3)
    assert traced == 1
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "cut", 3, interrupt=5)
    resumed, history, _ = _run(tmp_path / "cut", 3)
    for a, b in zip(whole.weights, resumed.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-6, err_msg=a.path)
    assert float(resumed.augment.probability) != pytest.approx(0.5)
    np.testing.assert_array_equal(resumed.sample(4), whole.sample(4))
    np.testing.assert_allclose(history[["d_loss", "g_loss"]], expected[["d_loss", "g_loss"]], atol=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run_and_its_backup_goes_on(tmp_path):
    with pytest.raises(
        TrainingError, match=r"epoch 2, step 2 \(last finite: d_fake [\d.]+, .*d_loss.*--resume"
    ):
        _run(tmp_path, 3, spoil=4)
    backup = callbacks.EpochBackup(tmp_path / "backup")
    assert backup.saved()[1] == 1
    resumed, history, _ = _run(tmp_path, 2)
    assert history["epoch"].tolist() == [1, 2] and np.isfinite(history.to_numpy()).all()
    assert all(np.isfinite(weight.numpy()).all() for weight in resumed.weights)


def _torch_step(generator, discriminator, real, noises, labels):
    """The paper's step: Adam 0.002, betas 0.5 and 0.999, a sum of two cross-entropies, noise drawn twice."""
    torch = pytest.importorskip("torch")
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    given = () if labels is None else (torch.from_numpy(labels),)
    dtype = next(generator.parameters()).dtype
    real = torch.from_numpy(real.transpose(0, 3, 1, 2).copy()).to(dtype)
    first, second = (torch.from_numpy(noise).to(dtype) for noise in noises)
    d_adam, g_adam = (
        torch.optim.Adam(net.parameters(), 0.002, (0.5, 0.999)) for net in (discriminator, generator)
    )
    on_real, on_fake = discriminator(real, *given), discriminator(generator(first, *given).detach(), *given)
    d_loss = bce(on_real, torch.ones_like(on_real)) + bce(on_fake, torch.zeros_like(on_fake))
    d_loss.backward()
    d_adam.step()
    logits = discriminator(generator(second, *given), *given)
    g_loss = bce(logits, torch.ones_like(logits))
    g_loss.backward()
    g_adam.step()
    return d_loss.item(), g_loss.item()


# Keras adds its epsilon before, PyTorch after the second moment is corrected: in the first step equal so.
EPSILON = 1e-8 * np.sqrt(1 - 0.999)


def _both_steps(dtype, classes, **shape):
    """Losses of one step of both libraries, and every weight after it: ours, theirs, and before."""
    torch = pytest.importorskip("torch")
    from keras_fracture.interop.layout import parameters_of
    from keras_fracture.interop.torch import load_torch_weights
    from tests.torch_twins import dcgan

    torch.manual_seed(0)
    twins = [kind(num_classes=classes or 0, **shape) for kind in (dcgan.Generator, dcgan.Discriminator)]
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        nets = _networks(num_classes=classes, **shape)
        for net, twin in zip(nets, twins, strict=True):
            load_torch_weights(net, twin.state_dict(), names="dcgan")
            twin.to(getattr(torch, dtype))
        model = AdversarialModel(*nets, seed=3, fresh_noise=True)
        g_optimizer, d_optimizer = (
            keras.optimizers.Adam(0.002, 0.5, 0.999, epsilon=EPSILON) for _ in range(2)
        )
        model.compile(g_optimizer=g_optimizer, d_optimizer=d_optimizer)
        rng = np.random.default_rng(0)
        real = rng.uniform(-1, 1, (8, nets[0].image_size, nets[0].image_size, nets[0].channels)).astype(dtype)
        labels = None if classes is None else np.arange(8) % classes
        seeds = keras.random.SeedGenerator(3)
        noises = [np.array(keras.random.normal((8, 100), seed=seeds)) for _ in range(2)]
        start = [copy.deepcopy(twin.state_dict()) for twin in twins]
        logs = model.train_step(real if labels is None else (tf.constant(real), labels))
    finally:
        keras.config.set_dtype_policy(before)
    theirs = _torch_step(*twins, real, noises, labels)
    weights = {}
    for net, twin, old in zip(nets, twins, start, strict=True):
        for parameter in parameters_of(net):
            values = twin.state_dict()[parameter.name], old[parameter.name]
            weights[type(net).__name__, parameter.name] = parameter.to_torch(), *(v.numpy() for v in values)
    return (float(logs["d_loss"]), float(logs["g_loss"])), theirs, weights


@pytest.mark.parametrize("classes", [None, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_of_the_paper_is_pytorchs_step(dtype, classes):
    ours, theirs, weights = _both_steps(dtype, classes, image_size=32, width=8, channels=1)
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert len(weights) == 16 + 12
    for name, (mine, their, before) in weights.items():
        np.testing.assert_allclose(mine, their, atol=1e-4, err_msg=str(name))
        assert np.abs(their - before).max() > 1e-3, name


def test_a_step_of_the_paper_at_full_size_is_pytorchs_but_for_signs():
    """Adam's first step is the rate times the gradient's sign, and some of 6 million gradients are only rounding.

    Where those fall on either side of 0, weights differ by up to twice the rate, 0.004, also between runs of
    one library in different orders of summing. So few weights may differ, and the generator's loss, which
    comes after the discriminator's step, agrees a little less well than the discriminator's.
    """
    ours, theirs, weights = _both_steps("float32", None, image_size=64, width=64, channels=3)
    assert ours[0] == pytest.approx(theirs[0], rel=1e-5)
    assert ours[1] == pytest.approx(theirs[1], rel=1e-4)
    apart = np.concatenate([np.abs(mine - their).ravel() for mine, their, _ in weights.values()])
    assert apart.max() < 2.1 * 0.002
    assert (apart > 1e-4).mean() < 1e-3
