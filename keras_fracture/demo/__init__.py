"""A page to look and play: `keras-fracture demo`. Needs Gradio (the extra `demo`), which is imported on first use.

A file a tab: functions that know nothing of Gradio above, and `tab`, which puts them onto the page, below.
"""

from keras_fracture.lazy import on_first_use

_HOMES = {"serve": "page"}
__all__ = ["serve"]

__getattr__, __dir__ = on_first_use(__name__, __all__, _HOMES)
