"""Images to features, for distances between sets: extractors by name, and a cache of what they gave."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_fracture import files
from keras_fracture.data import locations
from keras_fracture.data.levels import checked_range
from keras_fracture.errors import EvaluationError, ModelError, WeightsError, one_line
from keras_fracture.progress import Bar

NAMES = ("inception_v3", "xray", "xray:PATH")
# Made by `python benchmarks/xray_features.py`.
_PACKAGED = Path(__file__).with_name("xray.keras")
_INCEPTION_SIZE = 299
_HOW_TO_TRAIN = (
    "take xray alone, or train one with keras-fracture reproduce lisbon_resnet --depth 18 and give "
    "xray:RUN/grouped/resnet18/run-0/saved_model"
)


@dataclasses.dataclass(frozen=True)
class Extractor:
    """What turns images into features.

    Attributes:
        name: What reports call it.
        run: Function of uint8 `(n, height, width, 1 or 3)` that returns float `(n, d)`.
        identity: Hash of all that its features depend on, weights included; None where that is not known, so
            that nothing is cached.
    """

    name: str
    run: Callable
    identity: str | None = None


def extractor(which):
    """An extractor by name, or of a model.

    Models of this package and any other Keras model get images resized (bilinear, antialiased) to
    `image_size`, grey repeated or colours averaged to `channels`, and scaled to `pixel_range`; a model without
    these attributes gets its input's shape and 0 to 1, unless it scales grey levels itself. Features are what
    `features(images)` returns, or the model itself where it has none; maps `(n, height, width, channels)` are
    averaged over space.

    Args:
        which: One of
            "inception_v3": the average pool of Keras's InceptionV3 with ImageNet weights, 2,048 dimensions, which
            are downloaded once. Not the weights published scores use: compare within this package only.
            "xray": the small ResNet-18 that comes with the package, 128 dimensions: taught body part and finding on
            64x64 pixels of FracAtlas, see `benchmarks/xray_features.py`.
            "xray:PATH": another classifier of this package, a SavedModel it exported or a `.keras` file.
            A Keras model; a function of uint8 images, never cached; or an `Extractor`.

    Returns:
        An `Extractor`.

    Raises:
        EvaluationError: No such extractor, or a model without `pixel_range` that scales its images itself.
        WeightsError: Weights cannot be downloaded or read.
    """
    if isinstance(which, Extractor):
        return which
    if isinstance(which, str):
        if which == "inception_v3":
            return _inception()
        if which == "xray":
            return _of_model(load_classifier(_PACKAGED), which)
        if which.startswith("xray:"):
            return _of_model(load_classifier(which.removeprefix("xray:")), which)
    elif hasattr(which, "get_config") and callable(which):
        return _of_model(which, which.name)
    elif callable(which):
        return Extractor(getattr(which, "__name__", type(which).__name__), which)
    raise EvaluationError(
        f"An extractor is one of {', '.join(NAMES)}, a Keras model or a function. Received: {which!r}"
    )


def extract(images, which, *, batch_size=64, cached=False):
    """Features of images.

    Args:
        images: uint8 `(n, height, width, 1 or 3)`.
        which: See `extractor`.
        batch_size: Images at a time.
        cached: Whether to keep the features in the cache folder, under a hash of images and extractor, and take
            them from there the next time. For real images; generated ones do not come again.

    Returns:
        float32 `(n, d)`.

    Raises:
        EvaluationError: Images of another kind, or an extractor that gives other shapes, NaN or infinity.
        OutputError: The cache cannot be written.
    """
    check_images(images)
    chosen = extractor(which)
    if not cached or chosen.identity is None:
        return _run(chosen, images, batch_size)
    digest = hashlib.sha256(f"{chosen.identity} {images.shape}".encode())
    digest.update(np.ascontiguousarray(images))
    path = locations.cache_dir() / "features" / f"{digest.hexdigest()[:32]}.npy"
    try:
        return np.load(path)
    except (OSError, ValueError, EOFError):  # not there, or damaged
        features = _run(chosen, images, batch_size)
    with files.writing(path) as beside, open(beside, "wb") as stream:
        np.save(stream, features)
    return features


def check_images(images, name="images"):
    """Raises `EvaluationError` unless `images` is uint8 `(n, height, width, 1 or 3)` and not empty."""
    shape, dtype = np.shape(images), getattr(images, "dtype", None)
    if dtype != np.uint8 or len(shape) != 4 or shape[-1] not in (1, 3) or 0 in shape:
        raise EvaluationError(f"{name} must be uint8 (n, height, width, 1 or 3). Received: {dtype} {shape}")


def _run(chosen, images, batch_size):
    parts = []
    for start in Bar(range(0, len(images), batch_size), f"features, {chosen.name}", unit=" batches", delay=5):
        batch = images[start : start + batch_size]
        features = np.asarray(chosen.run(batch), "float32")
        if features.ndim != 2 or len(features) != len(batch):
            raise EvaluationError(
                f"{chosen.name} must give features (n, d) for n images. Received: {features.shape} for {len(batch)}"
            )
        parts.append(features)
    features = np.concatenate(parts)
    if not np.isfinite(features).all():
        raise EvaluationError(f"{chosen.name} must give finite features. Received: NaN or infinity")
    return features


def _inception():
    """InceptionV3 with ImageNet weights; Keras keeps them in its own folder."""
    import keras

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")  # features of another precision give other distances
    try:
        network = keras.applications.InceptionV3(include_top=False, pooling="avg", weights="imagenet")
    except Exception as error:  # Keras raises no narrower one
        raise WeightsError(
            "The ImageNet weights of inception_v3 cannot be downloaded: connect to the network once, or take "
            f"xray:PATH as extractor. Received: {one_line(error)}"
        ) from None
    finally:
        keras.config.set_dtype_policy(policy)
    return _pipeline(
        "inception_v3",
        network,
        (_INCEPTION_SIZE, _INCEPTION_SIZE),
        3,
        keras.applications.inception_v3.preprocess_input,
        network,
    )


def _of_model(model, name):
    from keras_fracture.models.preprocessing import UNIT

    shape = getattr(model, "input_shape", None) or (None,) * 4
    size = getattr(model, "image_size", None)
    size = (size, size) if isinstance(size, int) else shape[1:3]
    channels = getattr(model, "channels", None) or shape[3] or 3
    if not hasattr(model, "pixel_range") and _rescales(model):
        raise EvaluationError(
            f"{name} scales its images itself, so that 0 to 1 would be all but black: set its pixel_range, such as "
            "model.pixel_range = (0, 255), or pass a function of uint8 images. Received: a model with a layer of "
            "Rescaling or Normalization for grey levels"
        )
    low, high = checked_range(getattr(model, "pixel_range", UNIT))
    return _pipeline(
        name,
        model,
        size,
        channels,
        lambda levels: levels * ((high - low) / 255) + low,  # resizing left fractions of levels
        getattr(model, "features", model),
        (low, high),
    )


def _rescales(model):
    """Whether a Keras model has a layer, at any depth, that takes grey levels to 0 to 1, -1 to 1 or about 0.

    Those of `keras.applications` divide by 127.5 or more, or subtract what is no mean of an image of 0 to 1.
    """
    import keras

    layers = model._flatten_layers() if isinstance(model, keras.Layer) else ()
    return any(
        (isinstance(one, keras.layers.Rescaling) and np.max(one.scale) < 0.01)
        or (isinstance(one, keras.layers.Normalization) and one.built and np.max(np.abs(one.mean)) > 2)
        for one in layers
    )


def _pipeline(name, model, size, channels, preprocess, features, *settings):
    """An `Extractor` that resizes, preprocesses levels 0 to 255, and pools."""
    import tensorflow as tf

    from keras_fracture.training.precision import as_saved

    @tf.function(reduce_retracing=True)
    def compute(images):
        images = tf.cast(images, tf.float32)
        if None not in size:
            images = tf.image.resize(images, size, antialias=True)
        if channels == 1:
            images = tf.reduce_mean(images, 3, keepdims=True)
        elif images.shape[3] == 1:
            images = tf.repeat(images, channels, axis=3)
        outputs = tf.cast(features(preprocess(images), training=False), tf.float32)
        return tf.reduce_mean(outputs, (1, 2)) if outputs.shape.rank == 4 else outputs

    digest = hashlib.sha256(repr((type(model).__name__, size, channels, settings)).encode())
    digest.update(json.dumps(model.get_config(), sort_keys=True, default=str).encode())
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight))

    def features_of(images):
        with as_saved():
            return compute(images).numpy()

    return Extractor(name, features_of, digest.hexdigest())


def load_classifier(path):
    """A classifier of this package as a Keras model again, with `features`.

    Args:
        path: A `.keras` file, or a SavedModel folder as `serving.export` writes it, with or without the version.

    Raises:
        WeightsError: It is neither, or cannot be read.
    """
    from keras_fracture import models
    from keras_fracture.training.weights import load_keras

    path = Path(path)
    try:
        return load_keras(path) if path.suffix == ".keras" else models.load(path)
    except ModelError as error:
        raise WeightsError(f"{error}. Name a classifier of this package, or: {_HOW_TO_TRAIN}") from None
