"""Five papers on bone X-rays, rebuilt in Keras 3 on TensorFlow.

The rooms (`data`, `models`, `training`, ...) are imported on first use, so that `import keras_fracture` and
`keras-fracture --help` stay instant: importing TensorFlow takes seconds.

The import sets two environment variables, where they are not set yet, since TensorFlow reads them while it is loaded:
`TF_ENABLE_ONEDNN_OPTS=1` (threefold speed on processors without AVX-512; results differ by rounding) and
`TF_CPP_MIN_LOG_LEVEL=3` (errors alone in TensorFlow's log). To keep your own, set them before, or load TensorFlow
first. Nothing else of the application that imports the package changes. A few lines about oneDNN and missing GPUs that
TensorFlow prints before its log can be set remain in scripts; they are harmless, and commands and notebooks hide them.
"""

import importlib
import os

# TensorFlow turns oneDNN on by itself only where AVX-512 is; with AVX2 alone it still trains 3 times faster.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Errors arrive as exceptions; what TensorFlow logs at import is about GPUs that are not there.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"
__all__ = [
    "data",
    "evaluation",
    "inference",
    "interop",
    "models",
    "papers",
    "report",
    "serving",
    "synthesis",
    "training",
]


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*__all__, "__version__"])
