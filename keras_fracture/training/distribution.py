"""Training on several devices or machines, by TensorFlow's strategies.

A `Distribution` is passed to whatever makes models, optimizers and metrics: they are made under its `scope()`, and
`training.fit` trains a model as it was made, with the result that one process has with the same global batch: each
replica gets its rows of every batch, noise is drawn for the whole batch, and batch normalisation takes the statistics
of all rows. (Dropout draws other numbers.) The devices of one machine train through Keras's `fit`. Several machines
train by `fit` here, since Keras 3.15's hands a `PerReplica` value to `_maybe_symbolic_build` and reduces scalars over
an axis they do not have.

Every worker carries out the whole program, so that all of them reach the same collective operations in the same
order. The first one's files count: each other works in a copy of the run folder, see `Distribution.worker_dir`.
"""

import contextlib
import dataclasses
import functools
import re
import shutil
import tempfile
import zlib
from pathlib import Path

import keras
import tensorflow as tf

from keras_fracture.errors import DistributionError, meant
from keras_fracture.training import cluster

NAMES = ("none", "mirrored", "multiworker")
# What a collective operation ends with once a worker is gone, or silent for ten seconds.
_LOST = (
    tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError, tf.errors.UnavailableError,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Distribution:
    """What trainings are spread over; one worker unless the strategy is "multiworker".

    Attributes:
        name: One of `NAMES`.
        strategy: A `tf.distribute.Strategy`, or None for one device.
        workers: How many processes take part.
        worker: Which of them this is, from 0.
        task: Of this worker, as error messages of TensorFlow name it.
    """

    name: str = "none"
    strategy: tf.distribute.Strategy | None = None
    workers: int = 1
    worker: int = 0
    task: tuple = ()

    @property
    def replicas(self):
        """How many copies of a model train together."""
        return self.strategy.num_replicas_in_sync if self.strategy else 1

    @property
    def chief(self):
        """Whether this process writes what is kept: the only one, or the first worker."""
        return self.worker == 0

    def scope(self):
        """Context in which models, optimizers and metrics to be trained are made."""
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()

    def facts(self):
        """Name of the strategy and number of replicas, for a run's provenance; empty without a strategy."""
        return {"strategy": self.name, "replicas": self.replicas} if self.strategy else {}

    @contextlib.contextmanager
    def worker_dir(self, folder):
        """The run folder; on workers other than the first a copy of it that is thrown away.

        A copy, so that what is there already (backups, arrays made once) is there for all of them. All wait for the
        last one at the end.

        Args:
            folder: Path, on storage that all workers share if a run is to be resumed; None for an empty one.

        Raises:
            DistributionError: Workers see different files there.
        """
        self._agree(0)  # nobody is still making the folder
        if self.chief:
            self.check_files(folder)
            yield Path(folder)
        else:
            with tempfile.TemporaryDirectory(prefix="keras_fracture-") as temporary:
                copy = Path(temporary, "run")
                if folder is not None and Path(folder).is_dir():
                    shutil.copytree(folder, copy)
                copy.mkdir(exist_ok=True)
                self.check_files(copy)
                yield copy
        self._agree(0)

    def check_files(self, folder):
        """Raises `DistributionError` unless all workers see the same files in a folder."""
        # Not the first worker's lock.
        paths = sorted(
            path for path in Path(folder).rglob("*") if path.is_file() and not path.name.startswith(".")
        )
        seen = repr([(path.relative_to(folder).as_posix(), path.stat().st_size) for path in paths])
        if not self._agree(zlib.crc32(seen.encode()) >> 8):
            raise DistributionError(
                f"Workers see different files in the run folder: put it on storage that all of them share. "
                f"Received: {len(paths)} files on worker {self.worker}"
            )

    def check_epoch(self, first):
        """Raises `DistributionError` unless all workers start at the same epoch."""
        if not self._agree(first):
            raise DistributionError(
                f"Workers found backups of different epochs: give each the folder that worker_dir returns. "
                f"Received: {first} epochs on worker {self.worker}"
            )

    def _agree(self, number):
        """Whether all workers, for which this waits, have the same whole number below 2 ** 24."""
        if self.workers == 1:
            return True
        total, squares = self.sum([number, number**2])
        return total**2 == squares * self.workers

    def sum(self, numbers):
        """The sums of numbers over all workers."""
        sums = _adder(self.strategy)(tf.constant(numbers, tf.float64))
        return sums.numpy() * self.workers / self.replicas

    def rows_of_worker(self, order, batch_size):
        """Of global batches of rows, those that this worker's replicas take, one replica after the other.

        Under "mirrored" `keras.Model.fit` shares out the batches itself.

        Args:
            order: A `tf.data.Dataset` of tensors `(batch_size, ...)`.
            batch_size: Rows of a global batch.

        Returns:
            A `tf.data.Dataset`; with several workers an element has one replica's rows.

        Raises:
            DistributionError: The replicas cannot share a batch equally.
        """
        replicas = self.replicas
        if batch_size % replicas:
            raise DistributionError(
                f"Every replica needs the same share of a batch: choose a batch size that {replicas} divides. "
                f"Received: batches of {batch_size} for {replicas} replicas"
            )
        if self.workers == 1:
            return order
        own, share = replicas // self.workers, batch_size // replicas
        start = self.worker * own

        def own_rows(rows):
            return tf.reshape(rows, (replicas, share, *rows.shape[1:]))[start : start + own]

        return order.map(own_rows).unbatch()

    def whole_shares(self, batches):
        """Validation batches whose last one has images for every replica: convolutions fail on none.

        Args:
            batches: A `tf.data.Dataset` that ends.

        Returns:
            The dataset; under "mirrored" in batches of another size, if need be.

        Raises:
            DistributionError: There are too few images.
        """
        if self.workers > 1 or self.replicas == 1:
            return batches
        sizes = [int(tf.shape(tf.nest.flatten(batch)[0])[0]) for batch in batches]
        count, replicas = sum(sizes), self.replicas

        def fits(size):  # Keras wants the first batch in equal shares
            rest = count % size
            return size % replicas == 0 and (rest == 0 or rest > (replicas - 1) * size // replicas)

        size = next((size for size in range(max(sizes), replicas - 1, -1) if fits(size)), None)
        if size is None:
            raise DistributionError(
                f"{replicas} replicas cannot share the validation images: take fewer. Received: {count} images"
            )
        return batches if size == max(sizes) else batches.unbatch().batch(size)


ONE_DEVICE = Distribution()


@functools.cache  # a second strategy of one process would take the first one's numbers of collective operations
def create(name):
    """A `Distribution` by name.

    Args:
        name: "none"; "mirrored", all GPUs of this machine or else all its logical CPUs; "multiworker", all machines
            that the environment variable TF_CONFIG names.

    Raises:
        DistributionError: No such strategy, or TF_CONFIG is not valid.
    """
    if name == "none":
        return ONE_DEVICE
    if name == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        devices = [device.name for device in tf.config.list_logical_devices(kind)]
        return of(tf.distribute.MirroredStrategy(devices))
    if name == "multiworker":
        cluster.parse_tf_config()
        try:
            return of(tf.distribute.MultiWorkerMirroredStrategy())
        except (tf.errors.OpError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise DistributionError(
                f"The workers cannot be connected: {cluster.HELP}. Received: {reason}"
            ) from None
    raise DistributionError(
        f"No such strategy. Choose one of {', '.join(NAMES)}. {meant(name, NAMES)}Received: {name!r}"
    )


@functools.cache
def of(strategy):
    """The `Distribution` of a TensorFlow strategy, such as a model's `distribute_strategy`."""
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return Distribution("multiworker", strategy, *cluster.parse_tf_config())
    return (
        Distribution("mirrored", strategy)
        if isinstance(strategy, tf.distribute.MirroredStrategy)
        else ONE_DEVICE
    )


def current():
    """The `Distribution` whose scope this is called in."""
    return of(tf.distribute.get_strategy())


@contextlib.contextmanager
def using(name):
    """Gives a `Distribution` by name, see `create`; the loss of a worker within is one line.

    Args:
        name: See `create`; None is "none".

    Raises:
        DistributionError: No such strategy, TF_CONFIG is not valid, or a worker was lost.
    """
    distribution = create(name or "none")
    try:
        yield distribution
    except _LOST as error:
        if distribution.workers == 1 or not re.search("/job:|[Cc]ollective", str(error)):
            raise
        named = re.findall(r"/job:(\w+)(?:/replica:\d+)?/task:(\d+)", str(error))
        lost = next((" ".join(one) for one in named if one != distribution.task), "another one")
        raise DistributionError(
            f"This worker stops, because it lost {lost}, whose own "
            f"output says why. Start all workers again, with --resume: the last whole epoch is kept. "
            f"Received: {type(error).__name__} on worker {distribution.worker} of {distribution.workers}, "
            "counted from 0"
        ) from None


@functools.cache
def _adder(strategy):
    """A function that sums a tensor over all replicas."""

    def replica(numbers):
        context = tf.distribute.get_replica_context()
        # An argument lies on no device yet, and TensorFlow would not know where to sum.
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(numbers))

    return tf.function(
        lambda numbers: strategy.experimental_local_results(strategy.run(replica, args=(numbers,)))[0]
    )


def fit(
    model, dataset, *, epochs, steps_per_epoch, initial_epoch=0, validation_data=None,
    class_weight=None, callbacks=(), verbose=0,
):  # fmt: skip
    """`keras.Model.fit` for several workers.

    Callbacks run on every worker, with the same logs; once one of them stops training, all workers stop.

    Args:
        model: Compiled, and made under the `scope()` of several workers.
        dataset: Endless; each element holds one replica's rows, see `Distribution.rows_of_worker`.
        epochs: As in `keras.Model.fit`, and so are all below.
        steps_per_epoch: Steps.
        initial_epoch: The first epoch.
        validation_data: A `tf.data.Dataset` of batches, or None.
        class_weight: A dict.
        callbacks: A list.
        verbose: 0, 1 or 2; "auto" is 0.

    Returns:
        A `keras.callbacks.History`.
    """
    strategy, own = model.distribute_strategy, of(model.distribute_strategy)
    if class_weight:
        dataset = dataset.map(_weigher(class_weight))
    stream = iter(strategy.distribute_datasets_from_function(lambda _: dataset))
    watch = keras.callbacks.CallbackList(
        list(callbacks),
        add_history=True,
        add_progbar=verbose not in (0, "auto") and own.chief,
        model=model,
        verbose=verbose,
        epochs=epochs,
        steps=steps_per_epoch,
    )
    # Kept where Keras keeps its own: what is traced lasts until the model is compiled anew.
    model.train_function = model.train_function or _train_function(model)
    model.stop_training, logs = False, {}
    watch.on_train_begin()
    for epoch in range(initial_epoch, epochs):
        model.reset_metrics()
        watch.on_epoch_begin(epoch)
        for step in range(steps_per_epoch):
            watch.on_train_batch_begin(step)
            watch.on_train_batch_end(step, model.train_function(next(stream)))
        logs = _results(model)
        if validation_data is not None:
            logs |= {f"val_{name}": value for name, value in _evaluate(model, validation_data).items()}
        watch.on_epoch_end(epoch, logs)
        if own.sum([float(model.stop_training)])[0]:
            break
    if model.optimizer is not None:  # which may put the average of the weights in their place
        model.optimizer.finalize_variable_values(model.trainable_weights)
    watch.on_train_end(logs)
    return model.history


def _train_function(model):
    """One step on all replicas; returns the means of their logs, so that all workers see the same."""
    strategy = model.distribute_strategy

    def replica(batch):
        logs = model.train_step(batch)
        values = tf.stack([tf.cast(value, "float32") for value in logs.values()])
        values = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, values)
        return dict(zip(logs, tf.unstack(values), strict=True))

    @tf.function
    def step(batch):
        logs = strategy.run(replica, args=(batch,))
        return {name: strategy.experimental_local_results(value)[0] for name, value in logs.items()}

    return step


def _evaluate(model, batches):
    """`keras.Model.evaluate`, each worker on its share of the batches; metrics add up what replicas counted."""
    strategy = model.distribute_strategy
    if model.test_function is None:
        model.test_function = tf.function(
            lambda batch: strategy.run(model.test_step, args=(batch,)), reduce_retracing=True
        )
    model.reset_metrics()
    own = of(strategy)
    for batch in batches.shard(own.workers, own.worker):
        model.test_function(batch)
    return _results(model)


def _results(model):
    """The metrics of all replicas together."""
    with model.distribute_strategy.scope():
        return {name: float(value) for name, value in model.get_metrics_result().items()}


def _weigher(class_weight):
    """A map from (images, labels) to (images, labels, weights)."""
    table = tf.constant([class_weight.get(one, 1.0) for one in range(max(class_weight) + 1)], "float32")

    def weigh(images, labels):
        one_hot = labels.shape.rank == 2 and labels.shape[1] > 1
        classes = tf.argmax(labels, axis=1) if one_hot else tf.cast(tf.reshape(labels, [-1]), "int32")
        return images, labels, tf.gather(table, classes)

    return weigh
