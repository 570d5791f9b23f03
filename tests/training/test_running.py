import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import keras_fracture
from keras_fracture import models
from keras_fracture.errors import TrainingError
from keras_fracture.models.preprocessing import SYMMETRIC
from keras_fracture.training import callbacks, running
from keras_fracture.training import weights as saved

sys.path.insert(0, str(Path(__file__).parent))
import killed_run  # the model and stream that the killed process trains too


def _numbers(count, batch_size, take, **options):
    """The first batches of a stream of numbered images, as lists of numbers."""
    images = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)
    dataset, steps = running.make_train_dataset(
        images, batch_size=batch_size, pixel_range=(0, 255), **options
    )
    batches = [
        batch.ravel().round().astype(int).tolist() for (batch,) in dataset.take(take).as_numpy_iterator()
    ]
    return batches, steps


def test_each_epoch_is_a_permutation_and_they_differ():
    batches, steps = _numbers(12, 4, 9)
    assert steps == 3 and all(len(batch) == 4 for batch in batches)
    epochs = [list(itertools.chain(*batches[3 * i : 3 * i + 3])) for i in range(3)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] and epochs[0] != list(range(12))
    assert _numbers(12, 4, 9)[0] == batches and _numbers(12, 4, 9, seed=1)[0] != batches


def test_what_does_not_fill_a_batch_is_left_out_of_an_epoch_not_repeated():
    batches, steps = _numbers(11, 4, 40)
    assert steps == 2
    for i in range(0, 40, 2):
        assert len(set(batches[i] + batches[i + 1])) == 8
    assert len({number for batch in batches for number in batch}) == 11


def test_fewer_images_than_a_batch_make_one_batch_of_all():
    batches, steps = _numbers(5, 32, 3)
    assert steps == 1 and all(sorted(batch) == list(range(5)) for batch in batches)


@pytest.mark.parametrize("steps", [None, 2, 5])
@pytest.mark.parametrize("first", [1, 3])
def test_resumed_stream_equals_the_uninterrupted_one(first, steps):
    whole, per_epoch = _numbers(13, 4, 30, steps=steps)
    resumed, _ = _numbers(13, 4, 30 - first * per_epoch, steps=steps, first_epoch=first)
    assert resumed == whole[first * per_epoch :]


def test_labels_stay_with_their_images_and_pixels_are_scaled():
    images = (np.arange(10, dtype=np.uint8) * 25).reshape(10, 1, 1, 1)
    dataset, _ = running.make_train_dataset(images, np.arange(10), batch_size=5, pixel_range=SYMMETRIC)
    for batch, labels in dataset.take(4).as_numpy_iterator():
        np.testing.assert_allclose(batch.ravel(), labels * 25 / 127.5 - 1, atol=1e-6)


def test_nothing_to_train_on_is_a_training_error():
    with pytest.raises(TrainingError, match="0 images"):
        running.make_train_dataset(np.zeros((0, 8, 8, 1), np.uint8))


def _same_weights(one, other):
    assert len(one.weights) == len(other.weights) > 20
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-6, err_msg=a.path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Model and history of four epochs, with grids drawn on the way that must change nothing."""
    folder = tmp_path_factory.mktemp("undisturbed")
    result = killed_run.train(folder, 4, callbacks=[callbacks.SampleGrid(folder / "grids", every=2, count=4)])
    assert sorted(p.name for p in (folder / "grids").iterdir()) == ["epoch-0002.png", "epoch-0004.png"]
    return result


def test_interrupted_and_resumed_run_ends_with_the_same_weights(undisturbed, tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.d_optimizer.iterations.numpy() == 2 * killed_run.STEPS + 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed_run.train(tmp_path, 4, callbacks=[Interrupt()])
    backups = sorted(path.name for path in (tmp_path / "backup").iterdir())
    assert backups == ["epoch-00002.json", "epoch-00002.weights.h5"]
    # A kill between history and backup leaves an epoch in the history that is run again.
    lost = pd.read_csv(tmp_path / "history.csv")
    pd.concat([lost, lost[:1].assign(epoch=3, d_loss=99.0)]).to_csv(tmp_path / "history.csv", index=False)
    resumed, history = killed_run.train(tmp_path, 4)
    model, expected = undisturbed
    _same_weights(resumed, model)
    np.testing.assert_array_equal(resumed.sample(3), model.sample(3))
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    for column in ("d_loss", "g_loss", "d_real", "d_fake"):
        np.testing.assert_allclose(history[column], expected[column], atol=1e-5)


def test_two_runs_in_one_process_are_equal_and_further_epochs_only_add(undisturbed, tmp_path, caplog):
    model, history = killed_run.train(tmp_path, 2)
    again, same = killed_run.train(tmp_path, 2)
    _same_weights(again, model)
    pd.testing.assert_frame_equal(history, same)
    further, longer = killed_run.train(tmp_path, 4)
    _same_weights(further, undisturbed[0])
    pd.testing.assert_frame_equal(longer[:2], history)
    assert "with other weights" not in caplog.text  # such as those of the average, which are not trained


def test_killed_run_resumes_to_the_same_weights(tmp_path):
    """A kill -9, as a lost power line would do it."""
    command = [sys.executable, killed_run.__file__, str(tmp_path), "400", "dcgan"]
    # The package under test, also where another copy is installed.
    environment = os.environ | {"PYTHONPATH": str(Path(keras_fracture.__file__).parents[1])}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    backup = callbacks.EpochBackup(tmp_path / "backup")
    deadline = time.monotonic() + 120
    try:
        while backup.saved()[1] < 1:
            assert process.poll() is None, process.stderr.read().decode()
            assert time.monotonic() < deadline, "no epoch was finished"
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    behind = backup.saved()[1]
    assert 1 <= behind < 400
    target = max(4, behind + 1)
    expected, _ = killed_run.train(tmp_path / "whole", target, "dcgan")
    resumed, history = killed_run.train(tmp_path, target, "dcgan")
    _same_weights(resumed, expected)
    assert history["epoch"].tolist() == list(range(1, target + 1))


def test_backup_keeps_one_whole_epoch_and_restores_every_state(tmp_path):
    model, _ = killed_run.train(tmp_path, 2)
    backup = callbacks.EpochBackup(tmp_path / "backup")
    path, epochs = backup.saved()
    assert epochs == 2 and [path] == list((tmp_path / "backup").glob("*.h5"))
    other = killed_run.model()
    assert backup.restore(other) == 2
    _same_weights(other, model)
    for name in ("d_optimizer", "g_optimizer"):
        pairs = zip(getattr(model, name).variables, getattr(other, name).variables, strict=True)
        assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in pairs)
    assert other.d_optimizer.iterations.numpy() == 2 * killed_run.STEPS
    # A kill between the rename and the removal of the former file leaves both.
    (path.parent / "epoch-00001.weights.h5").write_bytes(b"old")
    (path.parent / f".1-{path.name}").write_bytes(b"half")
    assert backup.saved() == (path, 2)
    assert backup.restore(other) == 2
    assert [one.name for one in path.parent.glob("epoch*.h5")] == [path.name]
    backup.set_model(model)
    backup.on_epoch_end(2)
    assert sorted(one.name for one in path.parent.glob("epoch*")) == [
        "epoch-00003.json",
        "epoch-00003.weights.h5",
    ]


def test_a_backup_makes_no_optimizers(tmp_path, monkeypatch):
    """Keras makes one each time, to list its attributes, and its memory is lost."""
    model, made = killed_run.model(), []
    kind = keras.src.optimizers.optimizer.Optimizer
    monkeypatch.setattr(kind, "__init__", lambda self, *given, init=kind.__init__, **further: (
        made.append(self), init(self, *given, **further))[1])  # fmt: skip
    saved.save_weights(model, tmp_path / "first.weights.h5")
    before = len(made)
    saved.save_weights(model, tmp_path / "second.weights.h5")
    assert before <= 1 and len(made) == before


def test_no_backup_is_no_epoch(tmp_path):
    assert callbacks.EpochBackup(tmp_path / "none").saved() == (None, 0)


def test_losses_that_are_not_finite_stop_the_run_and_name_the_step(tmp_path):
    class Spoil(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if self.model.d_optimizer.iterations.numpy() == killed_run.STEPS + 1:
                weight = self.model.discriminator.trainable_variables[0]
                weight.assign(weight * np.nan)

    with pytest.raises(TrainingError, match=r"epoch 2, step 2 \(last finite: d_fake [\d.]+, .*--resume"):
        killed_run.train(tmp_path, 4, callbacks=[Spoil()])
    assert callbacks.EpochBackup(tmp_path / "backup").saved()[1] == 1
    assert pd.read_csv(tmp_path / "history.csv")["epoch"].tolist() == [1]


def test_stop_on_nan_lets_finite_losses_pass():
    watch = callbacks.StopOnNaN()
    watch.on_epoch_begin(6)
    watch.on_train_batch_end(0, {"loss": 1.5})
    for bad in (float("nan"), float("inf")):
        with pytest.raises(TrainingError, match=r"epoch 7, step 2 \(last finite: loss 1.5\)"):
            watch.on_train_batch_end(1, {"loss": bad})


def test_weights_that_are_not_finite_stop_the_run_though_losses_are_finite(tmp_path):
    class Spoil(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.d_optimizer.iterations.numpy() == 2 * killed_run.STEPS:
                self.model.discriminator.trainable_variables[-1].assign([np.nan])

    with pytest.raises(
        TrainingError, match=r"after epoch 2, .* is kept: .*Received: NaN or infinity in .*bias"
    ):
        killed_run.train(tmp_path, 4, callbacks=[Spoil()])
    assert callbacks.EpochBackup(tmp_path / "backup").saved()[1] == 1


def test_reseed_gives_every_epoch_its_own_numbers():
    model = killed_run.model()
    reseed = running.Reseed()
    reseed.set_model(model)

    def noise(epoch):
        reseed.on_epoch_begin(epoch)
        return keras.random.normal((3,), seed=model.noise).numpy()

    np.testing.assert_array_equal(noise(2), noise(2))
    assert np.abs(noise(2) - noise(3)).max() > 0.01
    seeds = [v for v in model.variables if v.name == "seed_generator_state"]
    assert len(seeds) >= 2  # the noise and the dropout


def test_classifier_with_validation_resumes_to_the_same_weights(tmp_path):
    images, labels = killed_run.images(), np.arange(24) % 2

    def stream(first):
        return running.make_train_dataset(images, labels, batch_size=8, seed=1, first_epoch=first)

    def train(folder, epochs):
        keras.utils.set_random_seed(2)
        layers = [keras.layers.Flatten(), keras.layers.Dropout(0.5, seed=4), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input((16, 16, 1)), *layers])
        model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
        check = tf.data.Dataset.from_tensors((images[:8] / 255, labels[:8]))
        return model, running.fit(model, stream, epochs, folder, validation_data=check, verbose=0)

    whole, history = train(tmp_path / "whole", 3)
    train(tmp_path / "cut", 1)
    resumed, again = train(tmp_path / "cut", 3)
    for a, b in zip(whole.weights, resumed.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-6)
    np.testing.assert_allclose(again[["loss", "val_loss"]], history[["loss", "val_loss"]], atol=1e-5)


def test_a_run_logs_for_tensorboard_where_asked(tmp_path):
    pytest.importorskip("tensorboard")
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    images, labels = np.zeros((8, 4, 4, 1), np.uint8), np.zeros(8)

    def stream(first):
        return running.make_train_dataset(images, labels, batch_size=4, first_epoch=first)

    running.fit(model, stream, 1, tmp_path / "with", tensorboard=True, verbose=0)
    running.fit(model, stream, 1, tmp_path / "without", verbose=0)
    assert list((tmp_path / "with" / "tensorboard").rglob("events.out.tfevents.*"))
    assert not (tmp_path / "without" / "tensorboard").exists()


def _climbing():
    """A model whose only weight grows by one each epoch, and whose validation loss is lowest at two."""
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")]
    )

    def loss(labels, outputs):
        return keras.ops.where(labels < 0, labels * outputs, (outputs - labels) ** 2)

    model.compile(keras.optimizers.SGD(1.0), loss)
    one = np.ones((1, 1), "float32")

    def stream(first):
        return tf.data.Dataset.from_tensors((one, -one)).repeat(), 1

    return model, stream, tf.data.Dataset.from_tensors((one, 2 * one))


@pytest.mark.parametrize("parts", [(9,), (3, 9), (4, 9), (1, 2, 3, 4, 5)])
def test_early_stopping_keeps_the_best_epoch_also_when_cut_off(parts, tmp_path):
    for epochs in parts:
        model, stream, validation = _climbing()
        history = running.fit(
            model, stream, epochs, tmp_path, validation_data=validation, patience=2, verbose=0
        )
    assert history["val_loss"].tolist() == [1, 0, 1, 4]  # epoch 4 is the second without a better one
    assert model.get_weights()[0].item() == 2


def test_without_patience_the_last_epoch_is_kept(tmp_path):
    model, stream, validation = _climbing()
    assert len(running.fit(model, stream, 6, tmp_path, validation_data=validation, verbose=0)) == 6
    assert model.get_weights()[0].item() == 6


def test_a_resumed_history_keeps_every_digit_of_its_first_epochs(tmp_path):
    path = tmp_path / "history.csv"
    losses = np.random.default_rng(0).random(100)  # of which pandas's default parser changes a third
    log = running.History(path, 0)
    for epoch, loss in enumerate(losses):
        log.on_epoch_begin(epoch)
        log.on_epoch_end(epoch, {"loss": loss})
    first_lines = path.read_text().splitlines()[:-1]
    resumed = running.History(path, 99)
    assert [row["loss"] for row in resumed.rows] == losses[:-1].tolist()
    resumed.on_epoch_begin(99)
    resumed.on_epoch_end(99, {"loss": losses[-1]})
    assert path.read_text().splitlines()[:-1] == first_lines


def test_a_finished_run_whose_history_is_gone_is_said(tmp_path):
    model, stream, validation = _climbing()
    running.fit(model, stream, 2, tmp_path, validation_data=validation, verbose=0)
    (tmp_path / "history.csv").unlink()
    with pytest.raises(TrainingError, match=r"no history.csv: delete its backup"):
        running.fit(model, stream, 2, tmp_path, validation_data=validation, verbose=0)


def test_a_network_whose_training_overwrites_memory_is_named_before_it_trains(monkeypatch, caplog):
    model = keras_fracture.models.create("compact_cnn", image_size=32)
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    images, labels = np.zeros((4, 32, 32, 1), np.uint8), np.arange(4) % 2
    running.fit_briefly(model, images, labels, 1)
    assert not caplog.records
    monkeypatch.setattr(running, "overwriting_layers", lambda model: [model.layers[0].path])
    running.fit_briefly(model, images, labels, 1)
    (said,) = caplog.messages
    assert "overwrite memory" in said and said.endswith(f"Received: {model.layers[0].path}")


@pytest.mark.parametrize("labels", [5, 20])
def test_labels_that_do_not_fit_the_images_are_refused(labels):
    """Of more labels each image would take the label of another one."""
    images, words = np.zeros((10, 8, 8, 1), np.uint8), f"one label.*10 images and {labels} labels"
    with pytest.raises(TrainingError, match=words):
        running.make_train_dataset(images, np.arange(labels))
    model = models.create("compact_cnn", image_size=32)
    with pytest.raises(TrainingError, match=words):
        running.fit_briefly(model, images, np.arange(labels), 1)
    with pytest.raises(TrainingError, match=words):
        running.fit_briefly(model, images, np.arange(10), 1, validation=(images, np.arange(labels)))


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch_size", 0), ("batch_size", -4), ("first_epoch", -1), ("seed", 1.5), ("seed", "1"), ("steps", -1)],
)
def test_numbers_that_count_nothing_are_refused(name, value):
    images = np.zeros((10, 8, 8, 1), np.uint8)
    with pytest.raises(TrainingError, match=f"{name} must be a whole number.*Received: {value!r}"):
        running.make_train_dataset(images, np.arange(10), **{name: value})


def test_an_epoch_without_a_loss_is_never_the_best():
    rows = [{"val_loss": loss} for loss in (float("nan"), 0.5, 0.4)]
    assert not running.BestEpoch("weights", rows, 1).over
    assert running.BestEpoch("weights", [*rows, {"val_loss": float("nan")}, {"val_loss": 0.6}], 1).over
