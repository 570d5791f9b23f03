"""What runs beside `fit`: sample grids, a stop on NaN, statistics of replicas, backups, a progress bar."""

import json
import logging
import math
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_fracture import files
from keras_fracture.data.ranges import not_finite
from keras_fracture.errors import TrainingError, one_line
from keras_fracture.progress import Bar
from keras_fracture.training import identity
from keras_fracture.training.weights import save_weights

_LOG = logging.getLogger(__name__)
_BACKUPS = "epoch-*.weights.h5"
BEST = "best.weights.h5"  # beside the folder of backups: the weights of the best epoch
# Keras's callbacks that act on what they have counted, and what that is called.
_COUNTING = (
    keras.callbacks.ReduceLROnPlateau,
    keras.callbacks.EarlyStopping,
    keras.callbacks.ModelCheckpoint,
)
_COUNTED = (
    "best", "wait", "cooldown_counter", "stopped_epoch", "epochs_since_last_save", "_ema_weights_in_model",
)  # fmt: skip
# Settings that may become others while a model is trained, by callbacks or by the model itself.
_LATER = ("optimizers", "adversarial_loss", "trained", "regularizers")


class SampleGrid(keras.callbacks.Callback):
    """Writes a grid of generated images every few epochs, always from the same noise, or of what `draw` gives.

    Args:
        folder: Where `epoch-NNNN.png` go.
        every: Epochs between grids.
        count: Images a grid.
        seed: Of the noise.
        draw: A function of the model to images in rows of `columns`, in place of `count` samples from noise.
        columns: Images a row; None for a square.
    """

    def __init__(self, folder, every=1, count=36, seed=0, draw=None, columns=None):
        super().__init__()
        self.folder, self.every, self.columns = Path(folder), every, columns
        self.draw = draw or (lambda model: model.sample(count, seed=seed))

    def on_epoch_end(self, epoch, logs=None):
        from keras_fracture.data import sheets

        if (epoch + 1) % self.every == 0:
            sheets.grid(self.draw(self.model), self.folder / f"epoch-{epoch + 1:04d}.png", self.columns)


class StopOnNaN(keras.callbacks.Callback):
    """Raises `TrainingError` at the first step whose losses are not finite, naming it and the last finite ones.

    After each epoch it looks at the weights, too: NaN in them need not come through to a loss.
    """

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

    def on_epoch_end(self, epoch, logs=None):
        if spoilt := not_finite(self.model.weights):
            raise TrainingError(
                f"Weights are not finite after epoch {epoch + 1}, though losses are. The backup of the epoch before, "
                "if there is one, is kept: look for NaN in the images, or lower the learning rate. "
                f"Received: NaN or infinity in {spoilt}"
            )


class EpochBackup(keras.callbacks.Callback):
    """Keeps the state of the last whole epoch: weights, optimizers, averages, random generators, counting callbacks.

    Unlike `keras.callbacks.BackupAndRestore` the file is written beside and renamed, and its name holds the
    epoch, so that a kill at any moment leaves one whole state that says which it is. Beside it lies what the training
    was started with: a resumed one that asks for something else is refused, for the backup would win without a word.
    What an earlier version did not record is not compared.

    Args:
        folder: Where `epoch-NNNN.weights.h5` and `epoch-NNNN.json` are kept, one of each at a time.
        settings: What the training is asked to be, a dict for JSON; None compares nothing.
        callbacks: All of this training.

    Raises:
        TrainingError: Of a callback not all that it counts can be kept.
    """

    def __init__(self, folder, settings=None, callbacks=()):
        super().__init__()
        self.folder, self.settings = Path(folder), json.loads(json.dumps(settings))
        # Another callback may call a file so: what `fit` leaves it chose by patience.
        chosen = (settings or {}).get("patience") is not None
        self.best = self.folder.parent / BEST if chosen else None
        self.steps, self.data, self.validation = None, [], {}
        self.first_weights = self.first_fixed = None
        # Those that an epoch ends with the average of the weights in the model, and the weights in its place.
        swapping = keras.callbacks.SwapEMAWeights
        self.swapping = [one for one in callbacks if isinstance(one, swapping) and one.swap_on_epoch]
        self.counting = [one for one in callbacks if isinstance(one, _COUNTING) or one in self.swapping]
        if any(getattr(one, "restore_best_weights", False) for one in self.counting):
            raise TrainingError(
                "EarlyStopping(restore_best_weights=True) keeps weights that a resumed training would not have: use "
                "patience= of training.fit. Received: restore_best_weights=True"
            )
        self._counted, self._given_others = None, False

    def saved(self):
        """The newest backup and its number of epochs, or (None, 0)."""
        paths = sorted(self.folder.glob(_BACKUPS))
        return (paths[-1], int(paths[-1].name[6:].split(".")[0])) if paths else (None, 0)

    def restore(self, model):
        """Loads the newest backup into a built and compiled model; returns the epochs it has behind it.

        Raises:
            TrainingError: The training that left it was started with other settings, or did not record them.
        """
        path, epochs = self.saved()
        if path:
            self._counted = self._check(path, model)
            given, fixed = identity.of_weights(model), identity.of_fixed(model)
            # Keras builds it in the first step, and loads nothing into an optimizer that is not built.
            if model.optimizer is not None and not model.optimizer.built:
                model.optimizer.build(model.trainable_variables)
            known, known_fixed = [self.first_weights], [self.first_fixed]
            if self.best and self.best.is_file():  # with which `fit` leaves a model, given patience
                model.load_weights(self.best)
                known.append(identity.of_weights(model))
                known_fixed.append(identity.of_fixed(model))
            model.load_weights(path)
            self._keep(path)
            # A model that goes on in this process was left with the average of its weights, see `finish`.
            inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
            averages = getattr(inner, "_model_variables_moving_average", ())
            known += [identity.of_weights(model), identity.first_numbers(averages)]
            self._given_others = self.first_weights is not None and not any(
                identity.same_weights(given, one) for one in known
            )
            if self.first_fixed is not None:  # such as a teacher's
                known_fixed.append(identity.of_fixed(model))
                self._given_others |= not any(identity.same_weights(fixed, one) for one in known_fixed)
        else:
            self.first_weights, self.first_fixed = identity.of_weights(model), identity.of_fixed(model)
        return epochs

    def _check(self, path, model):
        """Compares the settings beside a backup with those asked for; returns what callbacks had counted."""
        try:
            before = json.loads(_beside(path).read_text(encoding="utf-8"))
            names = "counted", "settings", "optimizers", "steps"
            counted, started, _, self.steps = (before[name] for name in names)
            self.data, known = before.get("data", []), before.get("model", {})
            self.validation, self.first_weights = before.get("validation", {}), before.get("first_weights")
            self.first_fixed = before.get("first_fixed_weights")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{path} lacks the settings of its training, {_beside(path).name}: delete its folder to train again. "
                f"Received: {one_line(error)}"
            ) from None
        now = identity.of_model(model)
        if odd := identity.other_model(known, now):
            raise TrainingError(
                f"{path.parent} was trained with another model: name another folder, or make the same. Expected: "
                f"{_shortened(known, odd)}. Received: {_shortened(now, odd)}"
            )
        # A model that goes on in the process that trained it has the learning rate and the loss that it has by now.
        later = {name: before[name] for name in _LATER if name in before}
        asked = {name: value for name, value in (self.settings or {}).items() if name in started}
        odd = [name for name in asked if asked[name] not in (started[name], later.get(name, started[name]))]
        if "trained" in odd:
            raise TrainingError(
                f"Other weights are trained than were in {path.parent}: name another folder. Expected: "
                f"{started['trained']}. Received: {self.settings['trained']}"
            )
        if odd:
            raise TrainingError(
                f"{path.parent} was trained with other settings of {', '.join(odd)}: name another folder, or ask for "
                f"the same. Expected: {_shortened(started, odd)}. Received: {_shortened(self.settings, odd)}"
            )
        # So that the next process may begin as this training did, too.
        self.settings = self.settings and self.settings | {
            name: started[name] for name in later if name in started
        }
        if [name for name, _ in counted] != self._kinds():
            raise TrainingError(
                f"{path.parent} was trained with other callbacks: name another folder, or pass the same. Expected: "
                f"{', '.join(name for name, _ in counted) or 'none'}. Received: {', '.join(self._kinds()) or 'none'}"
            )
        return [numbers for _, numbers in counted]

    @property
    def over(self):
        """Whether an `EarlyStopping` that was restored has stopped the training, and with its patience still does."""
        return any(
            isinstance(one, keras.callbacks.EarlyStopping)
            and numbers.get("stopped_epoch")
            and numbers.get("wait", 0) >= one.patience
            for one, numbers in zip(self.counting, self._counted or (), strict=False)
        )

    def finish(self, model):
        """Leaves a restored model, which trains no more, with the weights that the end of Keras's `fit` leaves.

        An optimizer with `use_ema` puts its average in their place there, behind the last backup, unless `swapping` has
        already.
        """
        if isinstance(model.optimizer, keras.optimizers.Optimizer) and not self.swapping:
            model.optimizer.finalize_variable_values(model.trainable_weights)

    def take_stream(self, steps, data, validation_data=None):
        """Keeps the steps an epoch and what the images are; a resumed training of others is refused.

        Args:
            steps: Steps.
            data: What `identity.noted` gave.
            validation_data: As in `keras.Model.fit`, where it decides when the training ends.

        Raises:
            TrainingError: The backup is from a training with others.
        """
        if self.steps not in (None, steps):
            raise TrainingError(
                f"{self.folder} was trained with {self.steps} steps an epoch: name another folder, or ask for as many. "
                f"Received: {steps}"
            )
        data = json.loads(json.dumps(data))
        odd = identity.other_data(self.data, data)
        validation = json.loads(json.dumps(identity.of_validation(validation_data)))
        others = identity.other_data([self.validation], [validation])
        # Images that are drawn anew at each reading are no others.
        if others and not identity.other_data([identity.of_validation(validation_data)], [validation]):
            odd |= others
        if odd:
            before, now = (
                ", ".join(f"{name} {pair[side]!s:.80}" for name, pair in odd.items()) for side in (0, 1)
            )
            raise TrainingError(
                f"{self.folder} was trained with other {', '.join(odd)}: name another folder, or ask for the same. "
                f"Expected: {before}. Received: {now}"
            )
        self.steps, self.data, self.validation = steps, data or self.data, validation or self.validation
        if self._given_others:  # neither as the training began nor as it left off
            _LOG.warning(
                "the model was given with other weights than the training in %s began with, of another seed or start: "
                "those of its backup take their place. Name another folder to train the model as it was given",
                self.folder,
            )

    def _kinds(self):
        return [type(one).__name__ for one in self.counting]

    def on_train_begin(self, logs=None):
        # Behind the others, which start to count anew there.
        for callback, numbers in zip(self.counting, self._counted or (), strict=False):
            vars(callback).update(numbers)
        for one in self.swapping:  # which would give up the weights in its last epoch, before they are kept
            one.params = one.params | {"epochs": math.inf}

    def on_epoch_end(self, epoch, logs=None):
        after = self.folder / f"epoch-{epoch + 1:05d}.weights.h5"
        counted = [
            (type(one).__name__, {name: _plain(vars(one)[name]) for name in _COUNTED if name in vars(one)})
            for one in self.counting
        ]
        facts = {"settings": self.settings, "optimizers": optimizers_of(self.model), "counted": counted}
        facts |= {"steps": self.steps, "data": self.data, "model": identity.of_model(self.model)}
        facts |= {"first_weights": self.first_weights, "first_fixed_weights": self.first_fixed}
        facts |= {"validation": self.validation, "adversarial_loss": identity.of_loss(self.model)}
        facts |= {
            "trained": identity.of_trained(self.model), "regularizers": identity.of_regularizers(self.model),
        }  # fmt: skip
        files.write_text(_beside(after), json.dumps(facts, indent=1) + "\n")
        save_weights(self.model, after)
        self._keep(after)
        for one in self.swapping:
            if self.model.stop_training or epoch + 1 == self.params["epochs"]:
                one._finalize_ema_values()  # else the end of `fit` puts the weights in the place of their average

    def _keep(self, newest):
        """Removes all other backups; a run that is killed here leaves two."""
        for other in self.folder.glob("epoch-*"):
            if other not in (newest, _beside(newest)):
                other.unlink()


def optimizers_of(model):
    """The settings of a compiled model's optimizers as they are now, a dict for JSON."""
    return {
        name: {"class": type(one).__name__} | _without_names(one.get_config())
        for name, one in sorted(vars(model).items())
        if isinstance(one, keras.optimizers.Optimizer)
    }


def _beside(path):
    return path.with_name(path.name.replace(".weights.h5", ".json"))


def _without_names(config):
    """A configuration for JSON without the names that Keras counts through in each process."""
    if isinstance(config, dict):
        return {name: _without_names(value) for name, value in config.items() if name != "name"}
    if isinstance(config, list | tuple):
        return [_without_names(value) for value in config]
    return _plain(config)


def _plain(value):
    """A number, text or None as JSON has it; of anything else its type's name."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return float(value) if np.ndim(value) == 0 and not callable(value) else type(value).__name__


def _shortened(settings, names):
    return ", ".join(f"{name} {json.dumps(settings.get(name)):.200}" for name in names)


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
            self.bar = Bar(total=self.epochs, initial=epoch, title=self.title, unit=" epochs")

    def on_epoch_end(self, epoch, logs=None):
        self.bar.set_postfix({name: f"{value:.3f}" for name, value in (logs or {}).items()}, refresh=False)
        self.bar.update()

    def on_train_end(self, logs=None):
        if self.bar is not None:
            self.bar.close()
