"""What the tabs show: images with captions, bars and notes, as HTML that needs no other file."""

import base64
import html
import logging

import cv2
import numpy as np

from keras_fracture.data import decoding
from keras_fracture.errors import FractureError, one_line, printable

_LOG = logging.getLogger(__name__)
BOX = (86, 180, 233)  # of boxes: bright on grey, and on the colours of heat
_SHOWN = 512  # pixels, the longest side of an image on the page

STYLE = """
.gradio-container { width: 100% !important; max-width: 1180px !important; margin: 0 auto !important; }
.kf-grid { display: grid; gap: 1rem; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); }
.kf-grid figure { margin: 0; max-width: 420px; }
.kf-grid img, .kf-chart img { display: block; width: 100%; height: auto; margin: 0; border-radius: 4px; }
.kf-grid img { background: #000; }
.kf-grid figcaption { margin-top: .35rem; font-size: .9rem; line-height: 1.35; }
.kf-chart { max-width: 600px; }
.kf-strip { gap: .3rem; margin-top: .5rem; }
.kf-strip figcaption { font-size: .75rem; text-align: center; white-space: nowrap; }
.kf-label { margin: .7rem 0 .2rem; }
.kf-verdict { font-size: 1.25rem; font-weight: 600; margin: 0 0 .3rem; }
.kf-note, .kf-error, .kf-warning { padding: .5rem .8rem; border-left: 4px solid #56B4E9; margin: .6rem 0;
  background: rgba(86, 180, 233, .14); overflow-wrap: anywhere; }
.kf-error { border-color: #D55E00; background: rgba(213, 94, 0, .14); }
.kf-warning { border-color: #E69F00; background: rgba(230, 159, 0, .16); font-weight: 600; }
.kf-bar { position: relative; height: 1.4rem; border: 1px solid #888; border-radius: 3px; max-width: 32rem; }
.kf-bar > i { position: absolute; inset: 0 auto 0 0; background: #0072B2; }
.kf-bar > b { position: absolute; top: -.35rem; bottom: -.35rem; width: 3px; margin-left: -1px; background: #D55E00; }
.kf-ticks { display: flex; justify-content: space-between; max-width: 32rem; font-size: .85rem; }
.kf-scale { height: 1.1rem; border: 1px solid #888; max-width: 32rem; }
.kf-table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
.kf-table th, .kf-table td { padding: .3rem .8rem; text-align: left; border-bottom: 1px solid #8884; }
.kf-right { outline: 3px solid #0072B2; outline-offset: -3px; }
.kf-wrong { outline: 3px dashed #D55E00; outline-offset: -3px; }
.kf-out .html-container { padding: 0 !important; }
#kf-place .icon-button-wrapper { display: none; }
@media (max-width: 600px) {
  .tab-container button { padding: 0 .3rem !important; font-size: .76rem !important; }
  .kf-grid { gap: .5rem; grid-template-columns: repeat(var(--narrow), minmax(0, 1fr)); }
  .kf-heat figure:first-child { grid-column: 1 / -1; }
}
#kf-place { max-width: 420px; }
#kf-place img { cursor: crosshair; }
"""


def words(text):
    """Text that moves no cursor and is no HTML."""
    return html.escape(printable(str(text)))


def address(image):
    """An image, uint8 `(height, width)`, `(..., 1)` or RGB, as the address of itself."""
    image = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    return f"data:image/png;base64,{base64.b64encode(decoding.encode_png(image)).decode()}"


def figure(image, caption, alt, kind=""):
    """An image over its caption, which is HTML; `alt` is for those who cannot see it."""
    shown = f'<img src="{address(sized(image))}" alt="{words(alt)}" class="{kind}">'
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def grid(figures, columns, narrow, kind=""):
    """Figures in rows of `columns`, on a phone of `narrow`."""
    style = f"--columns: {columns}; --narrow: {narrow}"
    return f'<div class="kf-grid {kind}" style="{style}">{"".join(figures)}</div>'


def chart(data, alt):
    """The bytes of a PNG of a diagram."""
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return f'<div class="kf-chart"><img src="{source}" alt="{words(alt)}"></div>'


def bar(value, threshold=None):
    """A probability as a bar, with a mark at the threshold."""
    mark = "" if threshold is None else f'<b style="left: {100 * threshold:.1f}%"></b>'
    return (
        f'<div class="kf-bar" role="img" aria-label="{value:.3f} of 1"><i style="width: {100 * value:.1f}%"></i>'
        f'{mark}</div><div class="kf-ticks"><span>0</span><span>1</span></div>'
    )


def note(text, kind="note"):
    """A line that stands out; `kind` is "note", "warning" or "error". `text` is HTML."""
    return f'<p class="kf-{kind}"{" role=alert" if kind == "error" else ""}>{text}</p>'


def safely(function, *arguments):
    """What a function returns; where it fails, one line to show in its place.

    Whatever goes wrong with a stranger's file, the page goes on, and shows no traceback.
    """
    try:
        return function(*arguments)
    except FractureError as error:
        return note(words(" ".join(str(error).split())), "error")
    except Exception as error:
        _LOG.exception("the page went on after")
        return note(f"That did not work. {words(one_line(error))}", "error")


def sized(image):
    """An image as large as it is shown: small ones enlarged without smoothing, large ones shrunk."""
    longest = max(image.shape[:2])
    if longest <= _SHOWN // 2:
        factor = _SHOWN // longest
        return np.repeat(np.repeat(image, factor, axis=0), factor, axis=1)
    if longest <= _SHOWN:
        return image
    sides = [max(round(side * _SHOWN / longest), 1) for side in image.shape[1::-1]]
    return cv2.resize(image, sides, interpolation=cv2.INTER_AREA)


def outlined(image, boxes, colour=BOX):
    """An image, large enough to see them in, with its boxes round in it.

    Args:
        image: uint8 `(height, width)`, `(height, width, 1)` or RGB.
        boxes: `(n, 4)` of ymin, xmin, ymax, xmax as fractions.
        colour: RGB.

    Returns:
        uint8 RGB.
    """
    image = sized(image)
    image = image[..., None] if image.ndim == 2 else image
    image = np.array(np.broadcast_to(image, (*image.shape[:2], 3)))
    height, width = image.shape[:2]
    for top, left, bottom, right in boxes:
        corners = (
            (int(left * width), int(top * height)),
            (int(right * width) - 1, int(bottom * height) - 1),
        )
        cv2.rectangle(image, *corners, (0, 0, 0), 4)
        cv2.rectangle(image, *corners, colour, 2)
    return image
