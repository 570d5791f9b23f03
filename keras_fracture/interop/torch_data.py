"""Images for PyTorch: a map-style `Dataset` whose workers need neither TensorFlow nor Keras."""

import dataclasses
import functools
from pathlib import Path

import numpy as np

from keras_fracture import files

try:
    from torch.utils.data import Dataset
except ImportError:  # `interop.torch.dataset` says so
    Dataset = object


class Images(Dataset):
    """Prepared images of one split, read from a file that all workers map into memory.

    It holds paths and small tables alone, so that it can be sent to workers however they are started; importing this
    module imports no TensorFlow. `dataset[row]` is a pair: a float32 tensor `(channels, size, size)` from 0 to 1, and
    the label, int, 0 healthy and 1 a finding.

    Attributes:
        path: A `.npy` file, uint8 `(n, size, size)`.
        labels: int64 `(n,)`.
        table: What is known of each image, a `pandas.DataFrame`, see `data.Records.table`.
        channels: Grey is repeated to so many.
        transform: Function of the image tensor, such as torchvision's, or None.
    """

    def __init__(self, path, labels, table, channels=1, transform=None):
        self.path, self.labels, self.table = Path(path), labels, table
        self.channels, self.transform = channels, transform

    def __len__(self):
        return len(self.labels)

    @functools.cached_property
    def pixels(self):
        """uint8 `(n, size, size)`, mapped into memory at the first use in each process."""
        return np.load(self.path, mmap_mode="r")

    def __getitem__(self, row):
        import torch

        # One multiplication in float32, as `models.preprocessing.scale`.
        image = torch.from_numpy(self.pixels[row].astype("float32") * np.float32(1 / 255))
        image = image.expand(self.channels, -1, -1).contiguous()
        return self.transform(image) if self.transform else image, int(self.labels[row])

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "pixels"}


def prepare(records, preprocess, transform=None):
    """`Images` of `data.Records`, prepared now unless that was done before.

    Args:
        records: `data.Records`.
        preprocess: `data.Preprocess`.
        transform: As in `Images`.

    Raises:
        OutputError: The cache cannot be written.
    """
    from keras_fracture.data import cache, locations  # with TensorFlow, which workers do without

    name = f"{records.facts()['name']}-{cache.key(records, preprocess)}.npy"
    path = locations.cache_dir() / "arrays" / name
    if not path.exists():
        with files.locked(path.with_suffix(".lock"), wait=True):
            _write(path, records, preprocess)
    return Images(path, records.table["label"].to_numpy(), records.table, preprocess.channels, transform)


def _write(path, records, preprocess):
    if path.exists():  # whoever had the lock before wrote it
        return
    grey = dataclasses.replace(preprocess, channels=1)
    shape = len(records), preprocess.size, preprocess.size
    with files.writing(path) as beside:
        pixels, done = np.lib.format.open_memmap(beside, "w+", np.uint8, shape), 0
        for images, _ in records.preprocessed(grey).batch(64).as_numpy_iterator():
            pixels[done : done + len(images)] = images[..., 0]
            done += len(images)
        pixels.flush()
