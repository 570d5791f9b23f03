import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import models
from keras_fracture.errors import ModelError, TrainingError
from keras_fracture.models.dense_gan import DenseDiscriminator, DenseGenerator
from keras_fracture.training.adversarial import AdversarialModel, sample
from keras_fracture.training.losses import NonSaturating
from keras_fracture.training.precision import POLICIES, using
from keras_fracture.training.unit import UNITModel


def _model(ema=None, dropout=0.2, compiled=True, rate=1e-3, **options):
    keras.utils.set_random_seed(5)
    generator = DenseGenerator(latent_dim=8, image_size=16, channels=1, width=1 / 16)
    discriminator = DenseDiscriminator(image_size=16, channels=1, width=1 / 8, dropout=dropout)
    model = AdversarialModel(generator, discriminator, ema=ema, seed=3)
    if compiled:
        model.compile(
            g_optimizer=keras.optimizers.Adam(rate, 0.5),
            d_optimizer=keras.optimizers.Adam(rate, 0.5),
            **options,
        )
    return model


@pytest.fixture(scope="module")
def real():
    rng = np.random.default_rng(0)
    return tf.constant(
        np.sin(rng.uniform(0, 3, (8, 1, 1, 1)) + np.arange(256).reshape(1, 16, 16, 1) / 9), "float32"
    )


def _softplus(x):
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_are_their_closed_form(reduction, smoothing):
    real, fake = np.random.default_rng(1).normal(0, 3, (2, 6, 1))
    loss = NonSaturating(reduction, smoothing)
    # Binary cross-entropy with labels 1 - smoothing and 0: -t log s(x) - (1 - t) log(1 - s(x)).
    on_real = ((1 - smoothing) * _softplus(-real) + smoothing * _softplus(real)).mean()
    expected = (on_real + _softplus(fake).mean()) * {"sum": 1, "mean": 0.5}[reduction]
    assert float(loss.discriminator(real, fake)) == pytest.approx(expected, rel=1e-5)
    assert float(loss.generator(fake)) == pytest.approx(_softplus(-fake).mean(), rel=1e-5)
    bce = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0)
    halves = float(bce(np.full((6, 1), 1 - smoothing), real)), float(bce(np.zeros((6, 1)), fake))
    assert float(loss.discriminator(real, fake)) == pytest.approx(
        sum(halves) * (1 if reduction == "sum" else 0.5), rel=1e-5
    )


def test_unknown_reduction_is_refused():
    with pytest.raises(TrainingError, match="sum or mean"):
        NonSaturating("median")


@pytest.mark.parametrize("smoothing", [0.9, 0.5, -0.1, float("nan")])
def test_labels_that_would_call_real_images_generated_are_refused(smoothing):
    with pytest.raises(TrainingError, match=f"real images is 1 - smoothing.*Received: {smoothing}"):
        NonSaturating(smoothing=smoothing)


def test_a_step_moves_every_weight_of_both_networks_and_reports_the_losses(real):
    model = _model(dropout=0.0)
    noise = keras.random.normal((8, 8), seed=keras.random.SeedGenerator(3))
    fake = model.generator(noise, training=True)
    expected = float(
        model.adversarial_loss.discriminator(model.discriminator(real), model.discriminator(fake))
    )
    before = [w.numpy() for w in model.trainable_variables]
    logs = model.train_step((real,))
    assert set(logs) == {"d_loss", "g_loss", "d_real", "d_fake"}
    assert float(logs["d_loss"]) == pytest.approx(expected, rel=1e-5)
    assert 0 < float(logs["d_real"]) < 1 and 0 < float(logs["d_fake"]) < 1
    # The generator is judged by the updated discriminator.
    expected_loss = float(model.adversarial_loss.generator(model.discriminator(fake)))
    assert float(logs["g_loss"]) == pytest.approx(expected_loss, rel=1e-5)
    for old, weight in zip(before, model.trainable_variables, strict=True):
        assert np.abs(old - weight.numpy()).max() > 0, weight.path


@pytest.mark.parametrize("kind", [AdversarialModel, UNITModel])
def test_optimizers_are_named(kind):
    """Positions meant the discriminator's first in earlier versions: such a call must not swap the two."""
    model = _model(compiled=False) if kind is AdversarialModel else _translator()
    with pytest.raises(TypeError, match="positional"):
        model.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.2))


def _translator():
    shape = {"image_size": 16, "channels": 1, "width": 2}
    discriminators = (models.create("unit_discriminator", **shape) for _ in range(2))
    return UNITModel(models.create("unit", **shape), *discriminators)


def test_generator_step_follows_its_own_gradient(real):
    model = _model(dropout=0.0, compiled=False)
    model.compile(g_optimizer=keras.optimizers.SGD(0.5), d_optimizer=keras.optimizers.SGD(0.0))
    noise = keras.random.normal((8, 8), seed=keras.random.SeedGenerator(3))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.softplus(-model.discriminator(model.generator(noise))))
    gradients = tape.gradient(loss, model.generator.trainable_variables)
    before = [w.numpy() for w in model.generator.trainable_variables]
    untouched = [w.numpy() for w in model.discriminator.trainable_variables]
    model.train_step(real)
    for old, gradient, weight in zip(before, gradients, model.generator.trainable_variables, strict=True):
        np.testing.assert_allclose(weight.numpy(), old - 0.5 * gradient.numpy(), atol=1e-6)
    for old, weight in zip(untouched, model.discriminator.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, weight.numpy())


def test_fixed_batch_lowers_each_networks_loss_while_the_other_holds_still(real):
    dataset = tf.data.Dataset.from_tensors(real).repeat(40)
    for moving, still in (("d_loss", "g_optimizer"), ("g_loss", "d_optimizer")):
        model = _model(dropout=0.0, compiled=False)
        optimizers = {"d_optimizer": keras.optimizers.Adam(3e-3), "g_optimizer": keras.optimizers.Adam(3e-3)}
        model.compile(**optimizers | {still: keras.optimizers.SGD(0.0)})
        losses = model.fit(dataset, epochs=2, steps_per_epoch=20, verbose=0, shuffle=False).history[moving]
        assert losses[1] < 0.9 * losses[0], moving


def test_labels_are_taken_and_not_used(real):
    one, other = _model(dropout=0.0), _model(dropout=0.0)
    one.train_step(real)
    other.train_step((real, tf.zeros(8, "int64")))
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_average_follows_its_closed_form(real):
    model = _model(ema=0.9)
    start = model.generator.get_weights()
    for a, b in zip(start, model.ema_generator.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    model.train_step(real)
    first = model.generator.get_weights()
    for w0, w1, average in zip(start, first, model.ema_generator.get_weights(), strict=True):
        np.testing.assert_allclose(average, 0.9 * w0 + 0.1 * w1, atol=1e-6)
    model.train_step(real)
    for w0, w1, w2, average in zip(
        start, first, model.generator.get_weights(), model.ema_generator.get_weights(), strict=True
    ):
        np.testing.assert_allclose(average, 0.81 * w0 + 0.09 * w1 + 0.1 * w2, atol=1e-6)
    plain = _model()
    assert model.sampler is model.ema_generator and plain.sampler is plain.generator


@pytest.mark.parametrize("ema", [0, 1, -0.5])
def test_decay_outside_its_range_is_refused(ema):
    with pytest.raises(ModelError, match="Received"):
        _model(ema=ema)


def test_kth_sample_depends_on_seed_and_k_alone():
    model = _model()
    many = model.sample(9, seed=4)
    assert many.shape == (9, 16, 16, 1) and many.dtype == np.uint8
    np.testing.assert_array_equal(model.sample(3, seed=4), many[:3])
    halves = model.sample(9, seed=4, batch_size=2)
    assert np.abs(halves.astype(int) - many).max() <= 1
    assert (model.sample(9, seed=5) != many).any()
    np.testing.assert_array_equal(sample(model.generator, 9, seed=4), many)


def test_samples_are_the_generators_range_as_grey_levels():
    model = _model()
    noise = np.random.default_rng(0).standard_normal((4, 8), "float32")
    images = (np.asarray(model.generator(noise)) + 1) * 127.5
    np.testing.assert_allclose(model.sample(4, seed=0), images, atol=0.51)


def test_saved_model_loads_with_its_average_and_samples_the_same(real, tmp_path):
    model = _model(ema=0.5)
    model.train_step(real)
    model.save(tmp_path / "gan.keras")
    loaded = keras.saving.load_model(tmp_path / "gan.keras", compile=False)
    assert isinstance(loaded, AdversarialModel)
    assert (loaded.ema, loaded.seed) == (0.5, 3)
    assert loaded.get_config()["generator"]["config"] == model.get_config()["generator"]["config"]
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(model.sample(4), loaded.sample(4))
    loaded.compile(g_optimizer=keras.optimizers.Adam(), d_optimizer=keras.optimizers.Adam())
    assert np.isfinite(float(loaded.train_step(real)["d_loss"]))


@pytest.mark.parametrize("policy", POLICIES)
def test_step_is_finite_under_every_policy(real, policy):
    with using(policy):
        model = _model(ema=0.9)
        logs = model.fit(tf.data.Dataset.from_tensors(real).repeat(3), verbose=0, shuffle=False).history
    wrapped = [
        isinstance(o, keras.optimizers.LossScaleOptimizer) for o in (model.d_optimizer, model.g_optimizer)
    ]
    assert wrapped == [policy == "mixed_float16"] * 2
    assert np.isfinite([values[-1] for values in logs.values()]).all()
    assert all(w.dtype == "float32" and np.isfinite(w.numpy()).all() for w in model.trainable_variables)
    inside = model.generator.body.layers[0].compute_dtype
    assert inside == policy.removeprefix("mixed_") and model.sample(2).std() > 0
    assert keras.config.dtype_policy().name == "float32"


def test_wrapped_optimizer_steps_like_a_plain_one(real):
    """The scaled loss is unscaled again: a step in float32 with scaling equals one without."""
    plain, scaled = _model(dropout=0.0, compiled=False), _model(dropout=0.0, compiled=False)
    plain.compile(g_optimizer=keras.optimizers.SGD(0.1), d_optimizer=keras.optimizers.SGD(0.1))
    scaled.compile(
        g_optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), 1024),
        d_optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), 1024),
    )
    for model in (plain, scaled):
        model.train_step(real)
    for a, b in zip(plain.trainable_variables, scaled.trainable_variables, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-6)


def test_unknown_policy_is_refused_and_a_failure_puts_the_old_one_back():
    with pytest.raises(ModelError, match="mixed_bfloat16"), using("float8"):
        pass
    with pytest.raises(ModelError), using("mixed_bfloat16"):
        models.create("dense_gan_generator", image_size=7)
    assert keras.config.dtype_policy().name == "float32"


def _conditional():
    shape = {"image_size": 32, "width": 2, "channels": 1, "num_classes": 2}
    model = AdversarialModel(
        *(models.create(f"dcgan_{kind}", **shape) for kind in ("generator", "discriminator"))
    )
    model.compile(g_optimizer=keras.optimizers.SGD(0.1), d_optimizer=keras.optimizers.SGD(0.1))
    return model


IMAGES = np.tanh(np.random.default_rng(0).normal(size=(8, 32, 32, 1))).astype("float32")


@pytest.mark.parametrize("labels", [np.arange(8) % 2 + 1, np.arange(8) % 2 - 1, np.full(8, 0.5)])
@pytest.mark.parametrize("kind", ["arrays", "dataset"])
def test_labels_of_no_class_are_refused(labels, kind):
    """Class 2 of 2 was trained as no class, a vector of zeros, and so was -1."""
    data = (IMAGES, labels)
    if kind == "dataset":
        data = (tf.data.Dataset.from_tensor_slices(data).batch(4),)
    with pytest.raises(TrainingError, match=r"labels must be whole numbers from 0 to 1.*Received"):
        _conditional().fit(*data, epochs=1, verbose=0)


@pytest.mark.parametrize(
    "given",
    [
        {"sample_weight": np.zeros(8)},
        {"class_weight": {0: 0.0, 1: 9.0}},
        {"validation_data": (IMAGES, np.arange(8) % 2)},
        {"validation_split": 0.5},
    ],
)
def test_what_a_gan_would_not_use_is_refused(given):
    with pytest.raises(TrainingError, match=f"takes no {next(iter(given))}"):
        _conditional().fit(IMAGES, np.arange(8) % 2, epochs=1, verbose=0, **given)


def test_weights_beside_the_labels_of_a_dataset_are_refused():
    with pytest.raises(TrainingError, match="no weights of images"):
        _conditional().train_step((IMAGES, np.arange(8) % 2, np.zeros(8)))


def test_a_gan_is_not_evaluated_by_its_losses():
    for name in ("evaluate", "test_on_batch"):
        with pytest.raises(TrainingError, match=f"measure its images.*Received: {name}$"):
            getattr(_conditional(), name)(IMAGES, np.arange(8) % 2)


def test_a_batch_is_trained_on_as_by_fit(real):
    """Keras hands over (images, None, None), which was taken for weights of images."""
    by_fit, alone = (_model(dropout=0.0, run_eagerly=True) for _ in range(2))
    expected = by_fit.fit(real, batch_size=8, shuffle=False, verbose=0).history
    received = alone.train_on_batch(real.numpy(), return_dict=True)
    assert {name: [float(value)] for name, value in received.items()} == expected
    for one, other in zip(by_fit.weights, alone.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(TrainingError, match="takes no class_weight"):
        alone.train_on_batch(real, class_weight={0: 1.0})
    conditional = _conditional()
    conditional.run_eagerly = True
    assert np.isfinite(conditional.train_on_batch(IMAGES, np.arange(8) % 2)).all()
    with pytest.raises(TrainingError, match=r"on \(images, labels\)\. Received: images"):
        conditional.train_on_batch(IMAGES)


ONE_FOR_BOTH = keras.optimizers.SGD(0.1)


@pytest.mark.parametrize("kind", [AdversarialModel, UNITModel])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"metrics": ["mae"]}, "compiled without metrics"),
        ({"weighted_metrics": ["mae"]}, "compiled without weighted_metrics"),
        ({"loss_weights": [1.0]}, "compiled without loss_weights"),
        ({"g_optimizer": "adm"}, "g_optimizer must be an optimizer.*Received: 'adm'"),
        ({"d_optimizer": keras.optimizers.SGD}, "d_optimizer must be an optimizer.*Received: <class"),
        ({"d_optimizer": keras.optimizers.SGD(0.1, use_ema=True)}, "ema= of the model.*d_optimizer"),
        ({"g_optimizer": ONE_FOR_BOTH, "d_optimizer": ONE_FOR_BOTH}, "two objects.*Received: one SGD"),
    ],
)
def test_what_would_change_nothing_or_train_wrongly_is_not_compiled(kind, given, words):
    model = _model(compiled=False) if kind is AdversarialModel else _translator()
    with pytest.raises(TrainingError, match=f"^.*{words}[^\\n]*$"):
        model.compile(**{"g_optimizer": "sgd", "d_optimizer": "sgd"} | given)
    assert not hasattr(model, "adversarial_loss")


def test_optimizers_may_be_names_and_what_keras_uses_is_taken():
    model = _model(compiled=False)
    overwriting = keras.optimizers.SGD(0.1, use_ema=True, ema_overwrite_frequency=2)
    model.compile(
        g_optimizer="rmsprop", d_optimizer=overwriting, metrics=[], run_eagerly=True, steps_per_execution=2
    )
    assert isinstance(model.g_optimizer, keras.optimizers.RMSprop) and model.d_optimizer is overwriting
    model.compile(g_optimizer="sgd", d_optimizer="sgd", jit_compile=False)
    assert model.g_optimizer is not model.d_optimizer


def test_a_part_that_was_frozen_after_compile_is_named(real):
    model = _model(run_eagerly=True)
    frozen = model.discriminator.body.layers[-1]
    frozen.trainable = False
    for train in (model.fit, model.train_on_batch):
        with pytest.raises(TrainingError, match=r"^`trainable` of a part .* compile again, with new ones"):
            train(real)
    model.compile(g_optimizer="sgd", d_optimizer="sgd", run_eagerly=True)
    before = [one.numpy() for one in frozen.weights]
    model.train_on_batch(real)
    for old, new in zip(before, frozen.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    model.discriminator.trainable = False
    with pytest.raises(TrainingError, match=r"^All that d_optimizer is for is frozen.*0 weights to train$"):
        model.compile(g_optimizer="sgd", d_optimizer="sgd")


@pytest.mark.parametrize(
    "callback",
    [
        keras.callbacks.LearningRateScheduler(lambda epoch: 0.1),
        keras.callbacks.ReduceLROnPlateau("g_loss"),
        keras.callbacks.SwapEMAWeights(),
    ],
)
def test_callbacks_for_one_optimizer_are_refused(real, callback):
    with pytest.raises(TrainingError, match=f"g_optimizer and .* Received: {type(callback).__name__}$"):
        _model().fit(real, verbose=0, callbacks=[keras.callbacks.TerminateOnNaN(), callback])
