"""Peak memory of preparing and of reading many images, in a process of its own.

Run as a program: `python -m benchmarks.image_memory COUNT FOLDER`.
"""

import sys

import tensorflow as tf

from benchmarks.processes import numbers_of, print_peak
from keras_fracture.data import decoding, phantom
from keras_fracture.data.pipeline import Preprocess, Records

DISTINCT = 64  # drawn images, then repeated


class Repeated(Records):
    """Records of any number of images: drawn ones, over and over."""

    def __init__(self, count):
        records = phantom.records(seed=1)[:DISTINCT]
        self.count = count
        self.fields = {
            "image": [decoding.encode_png(record["image"][..., 0]) for record in records],
            "label": [int(record["label"]) for record in records],
        }

    def __len__(self):
        return self.count

    def facts(self):
        """See `Records.facts`."""
        return {"name": "repeated", "images": self.count}

    def raw(self, fields=None):
        """See `Records.raw`; there are only image and label."""
        fields = {name: tf.constant(values) for name, values in self.fields.items()}
        fields["label"] = tf.cast(fields["label"], tf.int64)
        return tf.data.Dataset.from_tensor_slices(fields).repeat().take(self.count)


def peak_memory(count, folder):
    """Peak resident memory in MiB of a process that prepares images of 224 pixels, then reads an epoch shuffled.

    Args:
        count: Images.
        folder: Where the prepared images are written; 50 kB each.

    Returns:
        Peak until all are prepared, and peak until all were read; or None where there is no /proc/self/status.

    Raises:
        BenchmarkError: The process failed.
    """
    return numbers_of(__name__, count, folder) or None


def _main(count, folder):
    records = Repeated(int(count))
    batches = records.batched(32, preprocess=Preprocess(size=224), shuffle=0, cache=folder)
    print_peak()
    images = sum(len(labels) for _, labels in batches)
    assert images == records.count, f"{images} of {records.count} images were read"
    print_peak()


if __name__ == "__main__":
    _main(*sys.argv[1:])
