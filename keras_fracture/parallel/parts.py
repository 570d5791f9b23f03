"""Answers of finished tasks on disk, so that work that was stopped goes on where it was."""

import contextlib
import hashlib
import json
from pathlib import Path

from keras_fracture import files
from keras_fracture.errors import OutputError
from keras_fracture.parallel.versions import versions


def digest(function, rows, batch, shared):
    """Hash of all that answers follow from: function, rows, where they are cut, what they share, and `versions`."""
    facts = [f"{function.__module__}.{function.__qualname__}", batch, shared, versions()]
    found = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for row in rows:
        found.update(json.dumps(row, default=str).encode() + b"\n")
    return found.hexdigest()


class Parts:
    """JSON lines: a header with the `digest`, then a line a finished task.

    Args:
        path: The file; made if missing.
        digest: Of the work at hand.

    Raises:
        OutputError: The file is of other work or in use, or cannot be written.
    """

    def __init__(self, path, digest):
        self._path, self._offsets, self._open = Path(path), {}, contextlib.ExitStack()
        lock = self._path.with_name(f"{self._path.name}.lock")
        if not self._open.enter_context(files.locked(lock)):
            raise OutputError(f"Another process writes the parts of this work. Received: {path}")
        try:
            self._stream = self._open.enter_context(self._path.open("a+b"))
            self._index(digest)
        except OSError as error:
            self.close()
            raise OutputError(f"{path} cannot be written: {error.strerror}") from error
        except OutputError:
            self.close()
            raise

    def _index(self, digest):
        """Where each task's line begins; a last line that was cut off is removed."""
        self._stream.seek(0)
        whole, lines = 0, 0
        for line in self._stream:
            if not line.endswith(b"\n"):
                break
            content = json.loads(line)
            if not lines and content != {"digest": digest}:
                raise OutputError(
                    "This file holds parts of other work (other images, settings or versions): remove it, or name "
                    f"another. Received: {self._path}"
                )
            if lines:
                self._offsets[content["task"]] = whole
            whole, lines = whole + len(line), lines + 1
        self._stream.truncate(whole)
        if not lines:
            self._append({"digest": digest})

    def _append(self, content):
        self._stream.write(json.dumps(content).encode() + b"\n")
        self._stream.flush()

    def __contains__(self, task):
        return task in self._offsets

    def read(self, task):
        """Answers of a task, and the names of those of its rows that were skipped."""
        self._stream.seek(self._offsets[task])
        content = json.loads(self._stream.readline())
        return content["answers"], content["skipped"]

    def write(self, task, answers, skipped):
        """Adds a finished task."""
        try:
            self._append({"task": task, "answers": answers, "skipped": skipped})
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error.strerror}") from error

    def close(self):
        """Closes the file and frees it for others."""
        self._open.close()
