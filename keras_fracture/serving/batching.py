"""Requests that wait are answered together: one run of a model on eight images costs less than eight runs."""

import threading

import tensorflow as tf

from keras_fracture.serving import limits

PARALLEL = 2  # runs at a time, of all models; `serve_bytes` takes memory, see `limits.MAX_PIXELS`
_MOST = 8  # images of a run that answers several requests
_turns = threading.Condition()  # guards what waits and how much runs, of all models
_running = set()


class Batcher:
    """Runs one endpoint for callers in several threads.

    Nothing waits in the hope of others: a call runs at once where a run may start, and takes along what has come
    while all runs were under way.

    Args:
        function: Takes tensors by name, whose first axis counts images, and returns the like. The rows of an answer
            depend on the same rows of the inputs alone.
    """

    def __init__(self, function):
        self._function = function
        self._waiting = []

    def __call__(self, tensors, images, pixels=0):
        """Answers one request.

        Args:
            tensors: Name to tensor.
            images: How many rows each has.
            pixels: Of all its images before they are decoded, which bounds the memory of a run.

        Returns:
            Name to array.

        Raises:
            tf.errors.InvalidArgumentError: This request cannot be answered; others are.
        """
        mine = _Request(tensors, images, pixels)
        with _turns:
            self._waiting.append(mine)
        while not mine.answered:
            with _turns:
                _turns.wait_for(lambda: mine.answered or (not mine.taken and len(_running) < PARALLEL))
                if mine.answered:
                    break
                batch = self._next()
                _running.add(mine)
            try:
                self._answer(batch)
            finally:
                with _turns:
                    _running.remove(mine)
                    _turns.notify_all()
        if mine.error:
            raise mine.error
        return mine.outputs

    def _next(self):
        """Takes the requests of the next run, in the order they came."""
        batch, images, pixels = [], 0, 0
        while self._waiting:
            one = self._waiting[0]
            images, pixels = images + one.images, pixels + one.pixels
            if batch and (images > _MOST or pixels > limits.MAX_PIXELS):
                break
            batch.append(self._waiting.pop(0))
            one.taken = True
        return batch

    def _answer(self, batch):
        try:
            self._run(batch)
        except Exception as error:
            if len(batch) == 1:
                batch[0].answer(error=error)
            else:  # one of them cannot be read: the others have nothing to do with it
                for one in batch:
                    self._answer([one])

    def _run(self, batch):
        tensors = batch[0].tensors
        if len(batch) > 1:
            tensors = {name: tf.concat([one.tensors[name] for one in batch], 0) for name in tensors}
        outputs = {name: tensor.numpy() for name, tensor in self._function(**tensors).items()}
        if len(batch) == 1:  # whose inputs may be single numbers
            return batch[0].answer(outputs)
        start = 0
        for one in batch:
            one.answer({name: values[start : start + one.images] for name, values in outputs.items()})
            start += one.images
        return None


class _Request:
    """What one caller waits for."""

    def __init__(self, tensors, images, pixels):
        self.tensors, self.images, self.pixels = tensors, images, pixels
        self.taken = self.answered = False
        self.outputs = self.error = None

    def answer(self, outputs=None, error=None):
        self.outputs, self.error, self.answered = outputs, error, True
