"""The training of the UNIT translator, beside PyTorch and through `fit`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import models
from keras_fracture.errors import ModelError, TrainingError
from keras_fracture.models.preprocessing import SYMMETRIC, scale
from keras_fracture.training import UNITModel, losses, pairs_of, running
from keras_fracture.training import unit as training
from keras_fracture.training.precision import using

SIZES = {"nips2017": 16, "munit": 64}


def _model(preset="nips2017", rate=1e-3, width=2, optimizer=None, eager=False, **options):
    keras.utils.set_random_seed(5)
    shape = {"preset": preset, "image_size": SIZES[preset], "channels": 1, "width": width}
    discriminators = (models.create("unit_discriminator", **shape) for _ in range(2))
    model = UNITModel(models.create("unit", **shape), *discriminators, **{"seed": 3} | options)
    g_optimizer, d_optimizer = (
        optimizer() if optimizer else keras.optimizers.Adam(rate, 0.5) for _ in range(2)
    )
    model.compile(g_optimizer=g_optimizer, d_optimizer=d_optimizer, run_eagerly=eager)
    return model


def _pair(size=16, count=1, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(rng.uniform(-1, 1, (count, size, size, 1)).astype("float32") for _ in range(2))


def _beside_pytorch(preset, dtype, noise=0.0, width=4):
    """Losses of one step of both libraries, and every weight after it: ours, theirs, and before."""
    torch = pytest.importorskip("torch")
    from keras_fracture.interop.layout import parameters_of
    from keras_fracture.interop.torch import load_torch_weights
    from tests.torch_twins import unit as twins

    torch.manual_seed(0)
    shape = {"preset": preset, "channels": 1, "width": width}
    theirs = [twins.Unit(**shape), *(twins.Discriminator(**shape) for _ in range(2))]
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        model = _model(preset, width=width, noise=noise, optimizer=lambda: keras.optimizers.Adam(
            1e-3, 0.5, 0.999, epsilon=1e-8 * np.sqrt(1 - 0.999)  # PyTorch adds it after the correction
        ))  # fmt: skip
        ours = [model.translator, model.discriminator_a, model.discriminator_b]
        for net, twin in zip(ours, theirs, strict=True):
            load_torch_weights(net, twin.state_dict())
            twin.to(getattr(torch, dtype))
        images = _pair(SIZES[preset], 2)
        seeds = keras.random.SeedGenerator(3)
        side = SIZES[preset] // 4
        draws = [
            np.array(keras.random.normal((2, side, side, 4 * width), dtype=dtype, seed=seeds))
            for _ in range(4)
        ]
        old = [{name: value.clone() for name, value in twin.state_dict().items()} for twin in theirs]
        logs = model.train_step(tuple(map(tf.constant, images)))
    finally:
        keras.config.set_dtype_policy(before)

    def moved(arrays):
        return [torch.from_numpy(array.transpose(0, 3, 1, 2).astype(dtype)) for array in arrays]

    judging = [*theirs[1].parameters(), *theirs[2].parameters()]
    adams = [
        torch.optim.Adam(each, 1e-3, (0.5, 0.999), weight_decay=1e-4)
        for each in (judging, theirs[0].parameters())
    ]
    noises = [noise * each for each in moved(draws)]
    their_logs = twins.step(theirs[0], theirs[1:], adams, *moved(images), noises, training.WEIGHTS[preset])
    weights = {}
    for number, (net, twin) in enumerate(zip(ours, theirs, strict=True)):
        for parameter in parameters_of(net):
            values = twin.state_dict()[parameter.name], old[number][parameter.name]
            weights[number, parameter.name] = parameter.to_torch(), *(value.numpy() for value in values)
    return {name: float(value) for name, value in logs.items()}, their_logs, weights


@pytest.mark.parametrize("preset", SIZES)
def test_a_step_is_pytorchs_step(preset):
    """All terms and all weights after a full update, with noise.

    In float64, as Adam's first step is the rate times the gradient's sign, and a bias before an instance
    normalisation has a gradient that is only rounding, beside its decay.
    """
    ours, theirs, weights = _beside_pytorch(preset, "float64", noise=0.5)
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, rel=1e-5), name
    for name, (mine, their, before) in weights.items():
        assert np.abs(their - before).max() > 5e-4, name
        np.testing.assert_allclose(mine, their, atol=1e-4, err_msg=str(name))


def test_the_terms_are_what_they_say():
    model = _model(noise=0.0, optimizer=lambda: keras.optimizers.SGD(0.0))
    a, b = _pair(count=2)
    net, judge_a, judge_b = model.translator, model.discriminator_a, model.discriminator_b
    for weight in net.trainable_weights:
        weight.assign(5 * weight)
    ab, ba = (np.asarray(net.translate(*way)) for way in ((a, "a", "b"), (b, "b", "a")))
    bce, d_loss, gan = keras.losses.BinaryCrossentropy(from_logits=True), 0.0, 0.0
    for discriminator, real, fake in ((judge_a, a, ba), (judge_b, b, ab)):
        for on_real, on_fake in zip(discriminator(real), discriminator(fake), strict=True):
            d_loss += float(bce(np.ones(on_real.shape), on_real) + bce(np.zeros(on_fake.shape), on_fake))
            gan += float(bce(np.ones(on_fake.shape), on_fake))

    def apart(x, y):
        return float(np.abs(np.asarray(x) - y).mean())

    def square(x):
        return float((np.asarray(x) ** 2).mean())

    expected = {
        "gan": gan,
        "reconstruction": apart(net.translate(a, "a", "a"), a) + apart(net.translate(b, "b", "b"), b),
        "kl": square(net.encode(a, "a")) + square(net.encode(b, "b")),
        "cycle": apart(net.translate(ab, "b", "a"), a) + apart(net.translate(ba, "a", "b"), b),
        "cycle_kl": square(net.encode(ab, "b")) + square(net.encode(ba, "a")),
    }
    logs = {name: float(value) for name, value in model.train_step((a, b)).items()}
    assert logs == pytest.approx(
        expected
        | {"d_loss": 10 * d_loss, "g_loss": sum(model.loss_weights[n] * v for n, v in expected.items())},
        rel=1e-4,
    )


def test_noise_and_weights_of_the_loss_can_be_chosen():
    def reconstruction(model):
        model.random.state.assign([model.seed, 0])
        return float(model._translated(*_pair())[1]["reconstruction"])

    still, noisy, other = _model(noise=0.0, seed=9), _model(), _model(seed=9, kl=7.0, gan=0.0)
    noisy.noise = 0.0
    assert reconstruction(still) == reconstruction(noisy)
    noisy.noise = 1.0
    assert reconstruction(noisy) == reconstruction(noisy) != reconstruction(other)
    assert other.loss_weights == {"gan": 0.0, "reconstruction": 100, "kl": 7.0, "cycle": 100, "cycle_kl": 0.1}
    assert _model("munit").loss_weights == {
        "gan": 1, "reconstruction": 10, "kl": 0.01, "cycle": 10, "cycle_kl": 0.01,
    }  # fmt: skip


@pytest.mark.parametrize("wrap", [lambda optimizer: optimizer, keras.optimizers.LossScaleOptimizer])
def test_weight_decay_is_added_to_the_gradients_also_under_a_loss_scale(wrap):
    model, optimizer = _model(weight_decay=0.3), wrap(keras.optimizers.SGD(0.1))
    weight = keras.Variable([2.0])
    optimizer.build([weight])
    with tf.GradientTape() as tape:
        loss = optimizer.scale_loss(keras.ops.sum(weight**2))
    model._update(optimizer, tape, loss, [weight])
    assert float(weight[0]) == pytest.approx(2 - 0.1 * (4 + 0.3 * 2), rel=1e-5)


def test_defaults_follow_the_preset():
    nips, munit = (training.adam(preset) for preset in ("nips2017", "munit"))
    assert (float(nips.learning_rate), nips.beta_1, nips.beta_2) == (pytest.approx(1e-4), 0.5, 0.999)
    rates = [float(munit._learning_rate(step)) for step in (0, 99_999, 100_000, 250_000)]
    assert rates == pytest.approx([1e-4, 1e-4, 5e-5, 2.5e-5])
    real, fake = np.array([[0.5], [2.0]]), np.array([[-1.0], [1.0]])
    released = training.adversarial_loss("munit")
    assert float(released.discriminator(real, fake)) == pytest.approx((0.25 + 1) / 2 + (1 + 1) / 2)
    assert float(released.generator(fake)) == pytest.approx((4 + 0) / 2)
    assert float(losses.LeastSquares().generator(fake)) == pytest.approx(1)


def test_a_fixed_batch_is_learnt_and_the_average_follows():
    model = _model(rate=3e-3, width=4, ema=0.9, noise=0.1)
    start = np.concatenate([np.ravel(weight) for weight in model.translator.weights])
    dataset = tf.data.Dataset.from_tensors(_pair(seed=1)).repeat()
    history = model.fit(dataset, epochs=3, steps_per_epoch=10, verbose=0, shuffle=False).history
    assert history["reconstruction"][2] < 0.9 * history["reconstruction"][0]
    assert history["cycle"][2] < 0.95 * history["cycle"][0]
    averaged, weights = (
        np.concatenate([np.ravel(w) for w in net.weights]) for net in (model.sampler, model.translator)
    )
    moved, behind = weights - start, averaged - start
    assert 0.3 < (moved @ behind) / (moved @ moved) < 0.98
    assert model.sampler is model.ema_translator


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_it_trains_in_half_precision(policy):
    with using(policy):
        model = _model()
        logs = model.train_step(_pair())
    assert all(np.isfinite(float(value)) for value in logs.values())
    assert isinstance(model.d_optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    assert model(_pair()[0]).dtype == "float32"


def test_images_are_translated_in_grey_levels():
    model = _model()
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1), np.uint8)
    for weight in model.translator.weights:
        weight.assign(8 * weight)
    made = model.translate(images, "b", "a", batch_size=2)
    assert made.dtype == np.uint8 and made.shape == images.shape and np.ptp(made) > 20
    raw = np.asarray(model.translator.translate(scale(images, SYMMETRIC), "b", "a"))
    np.testing.assert_allclose(made, (raw + 1) * 127.5, atol=0.51)
    assert np.abs(model.translate(images).astype(int) - made).max() > 10
    with pytest.raises(ModelError, match=r"^images must be uint8 \(n, 16, 16, 1\)\. Received: float32 "):
        model.translate(_pair()[0])


def test_configuration_and_file_round_trip(tmp_path):
    model = _model(ema=0.9, kl=3.0, noise=0.5, weight_decay=0.0)
    model.train_step(_pair())
    model.save(tmp_path / "unit.keras")
    loaded = keras.saving.load_model(tmp_path / "unit.keras", compile=False)
    assert loaded.loss_weights == model.loss_weights
    assert (loaded.ema, loaded.noise, loaded.weight_decay, loaded.seed) == (0.9, 0.5, 0.0, 3)
    for a, b in zip(model.trainable_variables, loaded.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)
    images = _pair()[0]
    np.testing.assert_array_equal(loaded(images), model(images))


def test_a_pair_is_trained_on_alone():
    """Keras hands over (x, y, None), which was taken for no pair."""
    first, second = (_model(eager=True) for _ in range(2))
    first.train_on_batch(*_pair())
    second.train_on_batch(_pair())
    for one, other in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(TrainingError, match="measure its images"):
        first.test_on_batch(*_pair())


def test_what_does_not_fit_is_one_line():
    net = models.create("unit", image_size=16, channels=1, width=2)
    discriminator, other = (
        models.create("unit_discriminator", image_size=16, channels=c, width=2) for c in (1, 3)
    )
    with pytest.raises(ModelError, match=r"^The networks must have the same channels\. Received: \[1, 3\]$"):
        UNITModel(net, discriminator, other)
    for wrong in ({"kl": -1.0}, {"noise": -1.0}, {"weight_decay": -1.0}, {"ema": 1.0}):
        with pytest.raises(ModelError, match=r"Received: -?1\.0"):
            UNITModel(net, discriminator, discriminator, **wrong)
    model = _model()
    with pytest.raises(TrainingError, match=r"^UNIT is trained on pairs .* Received: no pair$"):
        model.train_step(tf.zeros((1, 16, 16, 1)))
    for wrong in (tf.zeros((1, 16, 16, 3)), tf.zeros((2, 16, 16, 1))):
        with pytest.raises(
            TrainingError, match=r"^UNIT is trained on two batches .* Received: \(1, 16, 16, 1\), "
        ):
            model.train_step((tf.zeros((1, 16, 16, 1)), wrong))
    with pytest.raises(TrainingError, match="without gradient penalty"):
        model.compile(loss="wasserstein")


def _marked(count, offset):
    return np.arange(offset, offset + count, dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, 2, 2, 1), np.uint8
    )


def _levels(stream, batches):
    return [[each[:, 0, 0, 0].tolist() for each in pair] for pair in stream.take(batches).as_numpy_iterator()]


def test_pairs_cycle_the_shorter_set_and_depend_on_seed_and_epoch_alone():
    sets = _marked(7, 0), _marked(3, 100)
    options = {"batch_size": 2, "seed": 4, "pixel_range": (0.0, 255.0)}
    stream, steps = pairs_of(*sets, **options)
    assert steps == 3
    whole = _levels(stream, 9)
    for epoch in range(3):
        drawn = np.ravel([healthy for healthy, _ in whole[3 * epoch : 3 * epoch + 3]]).tolist()
        assert len(set(drawn)) == 6 and max(drawn) < 7
    lesions = [lesion for _, lesion in whole]
    assert all(len(set(lesion)) == 2 and min(lesion) >= 100 for lesion in lesions)
    assert {level for lesion in lesions for level in lesion} == {100, 101, 102}
    late, _ = pairs_of(*sets, first_epoch=2, **options)
    assert _levels(late, 3) == whole[6:]
    other, _ = pairs_of(*sets, **options | {"seed": 5})
    assert _levels(other, 9) != whole
    same, _ = pairs_of(sets[0], sets[0], **options)
    assert any(healthy != lesion for healthy, lesion in _levels(same, 3))
    few, steps = pairs_of(_marked(1, 0), sets[1], **options)
    assert steps == 3 and all(len(each) == 1 for pair in _levels(few, 3) for each in pair)
    with pytest.raises(TrainingError, match="0 images"):
        pairs_of(sets[0], sets[1][:0])


@pytest.mark.slow
def test_a_run_cut_off_resumes_to_the_same_weights(tmp_path):
    rng = np.random.default_rng(0)
    sets = [rng.integers(0, 256, (count, 16, 16, 1), np.uint8) for count in (3, 2)]

    def run(folder, epochs):
        model = _model(ema=0.9, eager=True)

        def stream(first):
            return pairs_of(*sets, seed=1, steps=1, first_epoch=first)

        return model, running.fit(model, stream, epochs, tmp_path / folder, verbose=0)

    whole, expected = run("whole", 2)
    run("cut", 1)
    resumed, history = run("cut", 2)
    assert len(history) == 2 and np.isfinite(history.to_numpy()).all()
    for a, b in zip(whole.weights, resumed.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-6, err_msg=a.path)
    assert history["g_loss"].tolist() == pytest.approx(expected["g_loss"].tolist(), rel=1e-5)
