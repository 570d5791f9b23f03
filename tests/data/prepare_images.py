"""Prepares images as one of several processes: `prepare_images.py DATA FOLDER READY PROCESSES [die]`.

Prints how many images it prepared. With `die` it kills itself while it writes its first file.
"""

import os
import signal
import sys
import time
from pathlib import Path

from keras_fracture import data
from keras_fracture.data import cache, decoding

SIZE, A_FILE = 32, 2


def wait_for_all(decode, ready, processes, done):
    """A `decode` that waits until every process has a file in work, and adds to the list `done`."""

    def decode_together(content, *name):
        (ready / str(os.getpid())).touch()
        limit = time.monotonic() + 90
        while len(list(ready.iterdir())) < processes and time.monotonic() < limit:
            time.sleep(0.01)
        done.append(None)
        return decode(content, *name)

    return decode_together


def main(root, folder, ready, processes, *die):
    """Prepares the images."""
    cache.IMAGES = A_FILE
    done, example = [], cache._example
    decoding.decode = wait_for_all(decoding.decode, Path(ready), int(processes), done)
    if die:
        cache._example = lambda *fields: (
            os.kill(os.getpid(), signal.SIGKILL) if done[1:] else example(*fields)
        )
    records = data.load("kaggle_fracture", "train", data_dir=root)
    cache.prepare(records, data.Preprocess(size=SIZE), folder)
    print(len(done))


if __name__ == "__main__":
    main(*sys.argv[1:])
