"""`fit`, resumable: the one way everything trains."""

import functools
import logging
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from keras_fracture import files
from keras_fracture.data.augmentation import checked_augment
from keras_fracture.data.counts import check_whole
from keras_fracture.data.pipeline import finished
from keras_fracture.data.ranges import check_training
from keras_fracture.errors import TrainingError
from keras_fracture.models.compiling import check_class_weight, check_image_size, check_labels, check_schedule
from keras_fracture.models.convolution import overwriting_layers
from keras_fracture.models.preprocessing import SYMMETRIC, UNIT, scale
from keras_fracture.training import distribution, identity
from keras_fracture.training.callbacks import BEST, AverageStatistics, EpochBackup, StopOnNaN, optimizers_of
from keras_fracture.training.weights import save_weights

_LOG = logging.getLogger(__name__)


def make_train_dataset(
    images, labels=None, *, batch_size=32, seed=0, first_epoch=0, steps=None, pixel_range=UNIT, augment=None,
    channels=None,
):  # fmt: skip
    """An endless stream of training batches whose order depends on seed and epoch alone.

    A stream that starts at epoch k gives what one from epoch 0 gives there, so a resumed run sees the images
    an undisturbed one would have seen. With several workers each gets its rows of every batch, and reads, scales and
    augments no others; an element is then one replica's.

    Args:
        images: uint8 `(n, height, width, channels)`.
        labels: Array `(n,)` or `(n, classes)`, or None for images alone.
        batch_size: Images a batch; if there are fewer, a batch holds them all.
        seed: Of the order.
        first_epoch: Epoch to start at.
        steps: Steps an epoch; default is one pass over the images.
        pixel_range: `(low, high)` that pixels are scaled to.
        augment: A `data.Augmentation`, or another function of scaled images and their positions in training, or None.
        channels: Grey images are repeated to this many channels, after `augment`.

    Returns:
        A `tf.data.Dataset`, and its steps an epoch.

    Raises:
        TrainingError: There is no image, or not one finite label an image; or a number is no whole number that it can
            be.
        DataError: `augment` is none that can be used, see `data.Records.batched`.
        DistributionError: Replicas cannot share a batch equally.
    """
    count = len(images)
    if not count:
        raise TrainingError("There is nothing to train on. Received: 0 images")
    _check_labels(images, labels)
    check_whole(TrainingError, batch_size=(batch_size, 1), seed=(seed, None), first_epoch=(first_epoch, 0))
    if steps is not None:
        check_whole(TrainingError, steps=(steps, 0))
    augment = checked_augment(augment, pixel_range)
    identity.note(
        images, labels, augment, batch_size=batch_size, seed=int(seed), pixel_range=list(map(float, pixel_range)),
        channels=channels,
    )  # fmt: skip
    batch_size = min(batch_size, count)
    a_pass = count // batch_size
    steps = steps or a_pass
    done = first_epoch * steps
    index = tf.range(count)

    def one_pass(number):
        keys = tf.stack([tf.constant(seed, tf.int64), number])
        order = tf.random.experimental.index_shuffle(index, keys, count - 1)
        return tf.data.Dataset.from_tensor_slices(order).batch(batch_size, drop_remainder=True)

    order = tf.data.Dataset.range(done // a_pass, tf.int64.max).flat_map(one_pass).skip(done % a_pass)
    # Beside each row its position in training, which is what augmentation draws by.
    numbered = order.enumerate(done).map(
        lambda step, rows: tf.stack(
            [tf.cast(rows, tf.int64), step * batch_size + tf.range(batch_size, dtype=tf.int64)], axis=1
        )
    )
    numbered = distribution.current().rows_of_worker(numbered, batch_size)
    given = [tf.constant(one) for one in (images, labels) if one is not None]
    dataset = numbered.map(lambda rows: (rows[:, 1], tuple(tf.gather(one, rows[:, 0]) for one in given)))
    return finished(dataset, pixel_range=pixel_range, augment=augment, channels=channels), steps


def _check_labels(images, labels):
    if labels is not None and len(labels) != len(images):
        raise TrainingError(
            f"Every image needs one label. Received: {len(images)} images and {len(labels)} labels"
        )
    values = np.asarray(() if labels is None else labels)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise TrainingError(
            f"labels must be finite numbers: leave out images without one. Received: NaN or infinity "
            f"of {(~np.isfinite(values)).sum()} among {values.size} labels"
        )


def pairs_of(healthy, lesion, *, batch_size=1, seed=0, first_epoch=0, steps=None, pixel_range=SYMMETRIC):
    """An endless stream of unpaired batches (healthy, lesion), each in an order of its own as by `make_train_dataset`.

    Either set starts again once it is through, whatever the epoch: steps an epoch follow the larger one.

    Args:
        healthy: uint8 `(n, height, width, channels)`.
        lesion: uint8 `(m, height, width, channels)`.
        batch_size: Images of either kind a batch; if a set has fewer, as many as that has.
        seed: Of both orders.
        first_epoch: Epoch to start at.
        steps: Steps an epoch; default is one pass over the larger set.
        pixel_range: `(low, high)` that pixels are scaled to.

    Returns:
        A `tf.data.Dataset`, and its steps an epoch.

    Raises:
        TrainingError: A set has no image, or a number is no whole number that it can be.
    """
    counts = len(healthy), len(lesion)
    check_whole(TrainingError, batch_size=(batch_size, 1), seed=(seed, None))
    batch_size = max(min(batch_size, *counts), 1)
    steps = steps or max(counts) // batch_size
    streams = [
        make_train_dataset(
            images, batch_size=batch_size, seed=2 * seed + domain, first_epoch=first_epoch, steps=steps,
            pixel_range=pixel_range,
        )[0]
        for domain, images in enumerate((healthy, lesion))
    ]  # fmt: skip
    return tf.data.Dataset.zip(*streams).map(lambda a, b: (*a, *b)), steps


def fit(
    model, stream, epochs, folder, *, callbacks=(), validation_data=None, class_weight=None, patience=None,
    tensorboard=False, verbose="auto",
):  # fmt: skip
    """Trains a compiled model to `epochs` epochs, going on where a killed run in `folder` stopped.

    A folder is of one training: another one, of other images, labels or settings, takes another folder. What
    `make_train_dataset` and `pairs_of` are given is compared; of other streams only the steps an epoch are known.

    Args:
        model: Built and compiled.
        stream: Function of the first epoch that makes, when it is called, (dataset, steps an epoch), see
            `make_train_dataset`: it is called in the scope that the model was made in.
        epochs: Epochs in all, those of former runs included.
        folder: Gets `history.csv` and `backup/`.
        callbacks: Further Keras callbacks.
        validation_data: As in `keras.Model.fit`.
        class_weight: As in `keras.Model.fit`.
        patience: Stop once so many epochs have not lowered `val_loss`, and keep the weights of the best epoch;
            None trains to the end and keeps the last.
        tensorboard: Whether to log into `tensorboard/` too.
        verbose: As in `keras.Model.fit`.

    Returns:
        The history of all epochs as a `pandas.DataFrame`; `seconds` is each epoch's wall time.

    Raises:
        TrainingError: Epochs are done and their history is gone; or `folder` was trained with other images, labels,
            optimizers, learning rates, losses, their weights, class weights, patience (and with it validation data),
            regularizers, weights to be trained or settings of the model than are asked for now.
        DistributionError: Workers found different backups.
    """
    check_whole(TrainingError, epochs=(epochs, 1))
    own = distribution.of(model.distribute_strategy)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    history = folder / "history.csv"
    settings = {
        "optimizers": optimizers_of(model),
        "loss": _name_of(getattr(model, "loss", None)),
        "loss_weights": _loss_weights(model),
        "adversarial_loss": identity.of_loss(model),
        "patience": patience,
        "trained": identity.of_trained(model),
        "regularizers": identity.of_regularizers(model),
    }
    settings["class_weight"] = {str(label): float(weight) for label, weight in (class_weight or {}).items()}
    backup = EpochBackup(folder / "backup", settings, callbacks)
    with own.scope():
        first = backup.restore(model)
    own.check_epoch(first)
    if first and not history.is_file():
        raise TrainingError(
            f"{folder} has a backup of epoch {first} but no history.csv: delete its backup folder to train again"
        )
    log = History(history, first)
    best = BestEpoch(folder / BEST, log.rows, patience)
    extra = [keras.callbacks.TensorBoard(folder / "tensorboard")] if tensorboard else []
    with own.scope(), identity.noted() as data:
        dataset, steps = stream(first)
    backup.take_stream(steps, data, None if patience is None else validation_data)
    if first >= epochs or best.over or backup.over:
        _LOG.log(
            logging.INFO if first == epochs or best.over else logging.WARNING,
            "nothing is left to train in %s, which holds the weights and the history of %d epochs: name another folder "
            "to train anew. Received: epochs %d",
            folder, first, epochs,
        )  # fmt: skip
        backup.finish(model)
    else:
        _train(
            model,
            dataset,
            # The history first: an epoch is over once its backup stands.
            [*callbacks, *extra, log, best, backup],
            initial_epoch=first,
            epochs=epochs,
            steps_per_epoch=steps,
            validation_data=validation_data,
            class_weight=class_weight,
            verbose=verbose,
        )
    if patience is not None:
        model.load_weights(best.path)
    return pd.read_csv(history)


def _name_of(loss):
    """A compiled model's loss for JSON: its class, and its settings where it has any."""
    if isinstance(loss, dict):
        return {name: _name_of(one) for name, one in loss.items()}
    if isinstance(loss, keras.losses.Loss):
        return [
            type(loss).__name__,
            {k: v for k, v in loss.get_config().items() if isinstance(v, bool | int | float)},
        ]
    return loss if loss is None or isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)


def _loss_weights(model):
    """What a compiled model's losses weigh, for JSON; None where nothing is said."""
    given = getattr(getattr(model, "_compile_loss", None), "_user_loss_weights", None)
    return keras.tree.map_structure(lambda one: None if one is None else float(one), given)


def fit_briefly(
    model, images, labels, epochs, *, batch_size=32, seed=0, steps=None, augment=None, validation=None,
    class_weight=None,
):  # fmt: skip
    """Trains a compiled classifier too briefly to be worth a backup.

    Args:
        model: Built and compiled; an epoch is rounded up to whole blocks of its `steps_per_execution`.
        images: uint8 `(n, height, width, channels)`.
        labels: Array `(n,)` or `(n, classes)`.
        epochs: Epochs.
        batch_size: Images a step.
        seed: Of the order.
        steps: Steps an epoch; default is one pass over the images.
        augment: A `data.Augmentation`, or another function of scaled images and their positions in training, or None.
        validation: A pair (uint8 images, labels), or None.
        class_weight: As in `keras.Model.fit`.

    Returns:
        Metric name to its values, an array `(epochs,)`.

    Raises:
        TrainingError: As in `make_train_dataset`, also of validation images; or labels are none of the model's classes.
    """
    for given in ((images, labels), validation or ()):
        if given:
            _check_labels(*given)
            check_labels(model, given[1])
    with distribution.of(model.distribute_strategy).scope():
        stream, steps = make_train_dataset(
            images,
            labels,
            batch_size=batch_size,
            seed=seed,
            steps=steps,
            pixel_range=model.pixel_range,
            augment=augment,
            channels=model.channels,
        )
    block = model.steps_per_execution
    history = _train(
        model,
        stream,
        [],
        steps_per_epoch=-(-steps // block) * block,
        epochs=epochs,
        validation_data=validation and _batched(scale(validation[0], model.pixel_range), validation[1]),
        class_weight=class_weight,
        verbose=0,
    )
    return {name: np.asarray(values) for name, values in history.history.items()}


def _batched(images, labels):
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(256)


def _train(model, dataset, callbacks, validation_data=None, **options):
    """Keras's `fit`, or that of several workers, with the callbacks that every training has."""
    own = distribution.of(model.distribute_strategy)
    if overwriting := overwriting_layers(model):
        _LOG.warning(
            "strided 1x1 convolutions of few channels overwrite memory when they train in float32 on this CPU, so that "
            "results may be wrong: use keras_fracture.models.convolution.Conv2D, or bfloat16. Received: %s",
            ", ".join(overwriting),
        )
    if validation_data is not None:
        options["validation_data"] = own.whole_shares(validation_data)
    callbacks = [Reseed(), StopOnNaN(), AverageStatistics(), *callbacks]
    if own.workers > 1 or not hasattr(type(model).fit, "looks_at_range"):  # which looks at the schedule, too
        check_schedule(model, options["steps_per_epoch"], options["epochs"], options.get("initial_epoch", 0))
    if own.workers > 1:
        # As the model's own `fit` does.
        check_class_weight(model, options.get("class_weight"))
        checks = (functools.partial(one, model) for one in (check_labels, check_image_size))
        check_training(dataset, getattr(model, "pixel_range", None), *checks)
        return distribution.fit(model, dataset, callbacks=callbacks, **options)
    return model.fit(dataset, callbacks=callbacks, shuffle=False, **options)


class BestEpoch(keras.callbacks.Callback):
    """Early stopping that a resumed run takes up: what it knows is in the history file.

    Args:
        path: Where the weights of the epoch with the lowest `val_loss` are kept.
        rows: `History.rows`, which this callback must follow.
        patience: As in `fit`; None makes the callback do nothing.
    """

    def __init__(self, path, rows, patience):
        super().__init__()
        self.path, self.rows, self.patience = path, rows, patience

    @property
    def over(self):
        """Whether `patience` epochs have gone by without a lower loss."""
        losses = self._losses() if self.patience is not None else []
        return bool(losses) and len(losses) - losses.index(min(losses)) > self.patience

    def on_epoch_end(self, epoch, logs=None):
        if self.patience is None:
            return
        losses = self._losses()
        if losses.index(min(losses)) == len(losses) - 1:
            save_weights(self.model, self.path)
        if self.over:  # and never False, which would overrule another callback
            self.model.stop_training = True

    def _losses(self):
        """Of each epoch; one that is no number is never the lowest, but where there is none but such."""
        return np.nan_to_num([row["val_loss"] for row in self.rows], nan=np.inf).tolist()


class Reseed(keras.callbacks.Callback):
    """Sets every random generator of the model (noise, dropout) by its seed and the epoch alone.

    Their states are not in Keras's weight files; without this a resumed run would draw other numbers than an
    undisturbed one.
    """

    def on_epoch_begin(self, epoch, logs=None):
        for variable in self.model.variables:
            if variable.name == "seed_generator_state":
                seed, _ = keras.ops.convert_to_numpy(variable)
                variable.assign([seed, epoch << 20])


class History(keras.callbacks.Callback):
    """Appends each epoch's metrics to a csv, dropping epochs that a resumed run repeats.

    Args:
        path: The csv file.
        first: The first epoch to be run.
    """

    def __init__(self, path, first):
        super().__init__()
        self.path, self.rows, self.start = path, [], 0.0
        if first and path.is_file():
            # Every digit: pandas's default parser may miss the last one.
            rows = pd.read_csv(path, float_precision="round_trip")
            self.rows = rows.query("epoch <= @first").to_dict("records")

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = round(time.perf_counter() - self.start, 3)
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.rows.append({"epoch": epoch + 1, **values, "seconds": seconds})
        files.write_text(self.path, pd.DataFrame(self.rows).to_csv(index=False))
