"""Settings of OpenCV, Pillow and TFDS that hold for the whole process: changed where they are needed, then put back."""

import contextlib
import logging
import threading

import cv2
from PIL import ImageFile


class ProcessSetting(contextlib.ContextDecorator):
    """A setting of another library that has a value of ours while any thread is inside: a context and a decorator.

    The first thread to enter keeps what the host application had, and the last one to leave puts that back.

    Args:
        read: Function that returns the setting.
        write: Function of a value that sets it.
        value: What it is inside.
    """

    def __init__(self, read, write, value):
        self._read, self._write, self._value = read, write, value
        self._lock, self._inside, self._outer_value = threading.Lock(), 0, None

    def __enter__(self):
        with self._lock:
            if not self._inside:
                self._outer_value = self._read()
                self._write(self._value)
            self._inside += 1

    def __exit__(self, *_):
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._write(self._outer_value)


# For pools of threads: two images at a time, one thread each, are twice as fast as one image on two threads.
one_opencv_thread = ProcessSetting(cv2.getNumThreads, cv2.setNumThreads, 1)

# Pillow reads what is there of a truncated or damaged file; `decoding.decode` says itself what was truncated.
recover_truncated = ProcessSetting(
    lambda: ImageFile.LOAD_TRUNCATED_IMAGES,
    lambda value: setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", value),
    True,
)


@contextlib.contextmanager
def tfds_errors_only():
    """TFDS says much through absl's logger; what a user has to know is logged by the builders."""
    absl = logging.getLogger("absl")
    level = absl.level
    absl.setLevel(logging.ERROR)
    try:
        yield
    finally:
        absl.setLevel(level)
