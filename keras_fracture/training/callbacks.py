"""What runs beside `fit`: sample grids, a stop on NaN, statistics of replicas, backups, a progress bar."""

import math
from pathlib import Path

import keras
import tensorflow as tf
from tqdm import tqdm

from keras_fracture.errors import TrainingError
from keras_fracture.models.saved import save_weights

_BACKUPS = "epoch-*.weights.h5"


class SampleGrid(keras.callbacks.Callback):
    """Writes a grid of generated pictures every few epochs, always from the same noise.

    Args:
        folder: Where `epoch-NNNN.png` go.
        every: Epochs between grids.
        count: Pictures a grid.
        seed: Of the noise.
    """

    def __init__(self, folder, every=1, count=36, seed=0):
        super().__init__()
        self.folder, self.every, self.count, self.seed = Path(folder), every, count, seed

    def on_epoch_end(self, epoch, logs=None):
        from keras_fracture.data import sheets

        if (epoch + 1) % self.every == 0:
            pictures = self.model.sample(self.count, seed=self.seed)
            sheets.grid(pictures, self.folder / f"epoch-{epoch + 1:04d}.png")


class StopOnNaN(keras.callbacks.Callback):
    """Raises `TrainingError` at the first step whose losses are not finite, naming it and the last finite ones."""

    def __init__(self):
        super().__init__()
        self.epoch, self.finite = 0, {}

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        values = {name: float(value) for name, value in (logs or {}).items()}
        if all(map(math.isfinite, values.values())):
            self.finite = values
            return
        last = ", ".join(f"{name} {value:.4g}" for name, value in self.finite.items()) or "none"
        raise TrainingError(
            f"Losses are not finite at epoch {self.epoch + 1}, step {batch + 1} (last finite: {last}). The "
            f"backup of the last whole epoch is kept: lower the learning rate or the precision and use --resume"
        )


class EpochBackup(keras.callbacks.Callback):
    """Keeps the state of the last whole epoch: weights, optimizers, averages, random generators.

    Unlike `keras.callbacks.BackupAndRestore` the file is written beside and renamed, and its name holds the
    epoch, so that a kill at any moment leaves one whole state that says which it is.

    Args:
        folder: Where `epoch-NNNN.weights.h5` is kept, one at a time.
    """

    def __init__(self, folder):
        super().__init__()
        self.folder = Path(folder)

    def saved(self):
        """The newest backup and its number of epochs, or (None, 0)."""
        found = sorted(self.folder.glob(_BACKUPS))
        return (found[-1], int(found[-1].name[6:].split(".")[0])) if found else (None, 0)

    def restore(self, model):
        """Loads the newest backup into a built and compiled model; returns the epochs it has behind it."""
        path, epochs = self.saved()
        if path:
            # Keras builds it in the first step, and loads nothing into an optimizer that is not built.
            if model.optimizer is not None and not model.optimizer.built:
                model.optimizer.build(model.trainable_variables)
            model.load_weights(path)
            self._keep(path)
        return epochs

    def on_epoch_end(self, epoch, logs=None):
        after = self.folder / f"epoch-{epoch + 1:05d}.weights.h5"
        save_weights(self.model, after)
        self._keep(after)

    def _keep(self, newest):
        """Removes all other backups; a run that is killed here leaves two."""
        for other in self.folder.glob(_BACKUPS):
            if other != newest:
                other.unlink()


class AverageStatistics(keras.callbacks.Callback):
    """Gives all replicas the mean of their weights that are not trained, such as moving statistics.

    The package's batch normalisation keeps them equal, and each epoch's backup holds one replica's. Other layers may
    not: their statistics would be the first replica's alone.
    """

    def __init__(self):
        super().__init__()
        self.average = None

    def on_train_begin(self, logs=None):
        strategy = self.model.distribute_strategy
        weights = [one for one in self.model.non_trainable_weights if keras.backend.is_float_dtype(one.dtype)]

        def average():
            context = tf.distribute.get_replica_context()
            # A weight that is captured lies on no device yet, and TensorFlow would not know where to sum.
            values = [tf.identity(one) for one in weights]
            for weight, value in zip(
                weights, context.all_reduce(tf.distribute.ReduceOp.MEAN, values), strict=True
            ):
                weight.assign(value)

        if weights and strategy.num_replicas_in_sync > 1:
            self.average = tf.function(lambda: strategy.run(average))

    def on_epoch_end(self, epoch, logs=None):
        if self.average:
            self.average()


class Progress(keras.callbacks.Callback):
    """One progress bar for a whole training, with the last epoch's losses.

    Args:
        title: Beside the bar.
        epochs: Epochs in all.
    """

    def __init__(self, title, epochs):
        super().__init__()
        self.title, self.epochs, self.bar = title, epochs, None

    def on_epoch_begin(self, epoch, logs=None):
        if self.bar is None:
            self.bar = tqdm(total=self.epochs, initial=epoch, desc=self.title, unit=" epochs")

    def on_epoch_end(self, epoch, logs=None):
        self.bar.set_postfix({name: f"{value:.3f}" for name, value in (logs or {}).items()}, refresh=False)
        self.bar.update()

    def on_train_end(self, logs=None):
        if self.bar is not None:
            self.bar.close()
