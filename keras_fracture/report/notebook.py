"""What notebooks show under a cell: figures, and curves that grow while a model trains. Needs IPython."""

import base64
import io
import logging
from pathlib import Path

import keras
import numpy as np
import PIL.Image
from IPython.display import HTML, Image, display

from keras_fracture.report import figures

_GREY, _FEW = 24, 0.05  # levels between a pixel's channels; share of pixels
_QUALITY = 88  # of JPEG


def quiet():
    """Lets TensorFlow log errors alone: in a notebook its words on every export and retracing stand under a cell."""
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def show(*paths):
    """Shows PNG files, such as the figures of a run folder, in few bytes, and GIF files as they are.

    What is nearly grey gets 256 colours; what is mostly images is shown as JPEG.

    Args:
        *paths: The files; figure functions of this package return theirs.
    """
    for path in paths:
        display(_image(path))


def _image(path):
    """A PNG file for `display`: as PNG, or as JPEG where that has less than half the bytes; a GIF as it is."""
    if Path(path).suffix == ".gif":
        # As HTML: nbconvert shows no `image/gif`.
        data = base64.b64encode(Path(path).read_bytes()).decode()
        return HTML(f'<img src="data:image/gif;base64,{data}" alt="{Path(path).stem}">')
    png, jpeg = io.BytesIO(), io.BytesIO()
    with PIL.Image.open(path) as opened:
        image = opened.convert("RGB")
    image.save(jpeg, "JPEG", quality=_QUALITY, optimize=True)
    coloured = np.ptp(np.asarray(image), axis=-1) > _GREY
    # Heat maps would show steps in 256 colours.
    image = image.quantize(256) if coloured.mean() < _FEW else image
    image.save(png, "PNG", optimize=True)
    if 2 * jpeg.tell() < png.tell():
        return Image(data=jpeg.getvalue(), format="jpeg")
    return Image(data=png.getvalue(), format="png")


class LiveCurves(keras.callbacks.Callback):
    """One figure that is redrawn after each epoch.

    Args:
        path: PNG to write.
        names: Of what to draw, as in the epoch's logs; those that a training lacks are left out. Where an epoch lacks
            one, as `val_loss` under `validation_freq`, its line has no point.
        ylabel: With its unit.
        suptitle: Of the figure.
    """

    def __init__(self, path, names=("loss", "val_loss"), ylabel="loss (nats)", suptitle="While training"):
        super().__init__()
        self.path, self.names, self.ylabel, self.suptitle = Path(path), names, ylabel, suptitle
        self.lines, self.handle, self.drawn = {}, None, 0

    def on_epoch_end(self, epoch, logs=None):
        for name in self.names:
            if name in (logs or {}):
                self.lines.setdefault(name, [np.nan] * self.drawn)
            if name in self.lines:
                self.lines[name].append(float((logs or {}).get(name, np.nan)))
        self.drawn += 1
        figures.curves({"": self.lines}, self.path, self.ylabel, self.suptitle)
        image = _image(self.path)
        if self.handle is None:
            self.handle = display(image, display_id=True)
        else:
            self.handle.update(image)
