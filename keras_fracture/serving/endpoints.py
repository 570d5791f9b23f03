"""What an exported model answers to: one function and its input signature an endpoint, in TensorFlow's operations.

Every input and output has rows: a server that batches joins the inputs of several requests along their first axis,
fills them up with copies of a row, and splits the outputs by rows again.
"""

import tensorflow as tf

from keras_fracture.models.preprocessing import scale
from keras_fracture.serving import graph
from keras_fracture.synthesis.blending import blend_graph
from keras_fracture.synthesis.resampling import SMALLEST, interpolation


def default(model):
    """The function of `serving_default`, and its input signature."""
    if hasattr(model, "latent_dim"):
        return draw(model)
    return translate(model) if hasattr(model, "translate") else classify(model)


def classify(model):
    """`images` -> `probabilities`, float32 `(batch, classes)`; of a discriminator of several scales `logits_1`, ..."""

    def classify(images):
        logits = model(images, training=False)
        if isinstance(logits, list):
            return {f"logits_{scale}": tf.cast(each, tf.float32) for scale, each in enumerate(logits, 1)}
        logits = tf.cast(logits, tf.float32)
        return {"probabilities": tf.sigmoid(logits) if logits.shape[-1] == 1 else tf.nn.softmax(logits)}

    return classify, [_image_input(model)]


def classify_bytes(predict_fn, model, preprocess):
    """`bytes` -> what `predict_fn` gives for these files: the traced `classify`, so that the network is saved once."""
    shape = (model.image_size, model.image_size, model.channels)

    def classify_bytes(data):
        images = tf.map_fn(
            lambda each: graph.preprocess(each, preprocess, model.pixel_range),
            data,
            parallel_iterations=2,  # an image on its way takes about 30 bytes a pixel
            fn_output_signature=tf.TensorSpec(shape, tf.float32),
        )
        return predict_fn(images)

    return classify_bytes, [tf.TensorSpec((None,), tf.string, name="bytes")]


def draw(model):
    """`noise`, with classes also int32 `labels` -> `images` in the generator's pixel range."""
    images, classes = _images(model), _classes(model)
    noise = tf.TensorSpec((None, model.latent_dim), tf.float32, name="noise")
    if not classes:
        return images, [noise]

    def checked(noise, labels):
        ends = (tf.reduce_min(labels), tf.reduce_max(labels))
        checks = [_within("labels", end, 0, classes - 1) for end in ends]
        with tf.control_dependencies(checks):  # any other is drawn as if it were no class
            return images(tf.identity(noise), tf.identity(labels))

    return checked, [noise, tf.TensorSpec((None,), tf.int32, name="labels")]


def generate(draw_fn, model):
    """`seed`, `number`, with classes also `label` (-1 takes all in turn), int32 `(batch,)` -> `images`, uint8.

    A row is one image: that of a number, from 0, of a seed. It has noise of its own, so that it is the same whatever
    the other rows, beyond rounding.
    """
    classes = _classes(model)

    def generate(seed, number, *label):
        checks = [_within("number", tf.reduce_min(number), 0, None)]
        if classes:
            ends = (tf.reduce_min(label[0]), tf.reduce_max(label[0]))
            checks += [_within("label", end, -1, classes - 1) for end in ends]
        with tf.control_dependencies(checks):  # all that follows needs the numbers
            number = tf.identity(number)
        given = (tf.where(label[0] < 0, number % classes, label[0]),) if classes else ()
        noise = tf.map_fn(
            lambda key: tf.random.stateless_normal((model.latent_dim,), key, alg="philox"),
            tf.stack([seed, number], axis=1),
            fn_output_signature=tf.TensorSpec((model.latent_dim,), tf.float32),
        )
        return {"images": _levels(draw_fn(noise, *given)["images"], model.pixel_range)}

    names = ("seed", "number", "label") if classes else ("seed", "number")
    return generate, [tf.TensorSpec((None,), tf.int32, name=name) for name in names]


def translate(model):
    """`images` of healthy patches -> `images` of the same with a lesion, both in the model's pixel range."""
    return _images(model), [_image_input(model)]


def translate_bytes(translate_fn, model, exponent):
    """`bytes` of images and `windows` in them -> `images_bytes`, PNG files with a lesion painted into the window.

    As `synthesis.paint` does it. Windows are int32 `(batch, 4)`: top, left, height, width in pixels of the image.
    Outside of them not a bit changes. (TensorFlow Serving's REST gives an output as base64 if its name ends so.)
    """
    size = model.image_size

    def paint(given):
        data, window = given
        image = tf.repeat(graph.decode(data)[..., None], model.channels, axis=2)
        top, left, height, width = tf.unstack(window)
        with tf.control_dependencies(
            [
                _within("A window's top and left", tf.reduce_min(window[:2]), 0, None),
                _within("A window's height", height, SMALLEST, tf.shape(image)[0] - top),
                _within("A window's width", width, SMALLEST, tf.shape(image)[1] - left),
            ]
        ):
            # Used only once it was checked: the matrices below are as large as a window says it is.
            window = tf.identity(window)
        top, left, height, width = tf.unstack(window)
        inside = tf.slice(image, [top, left, 0], [height, width, model.channels])
        patch = tf.einsum(
            "ys,stc,xt->yxc", _scaling(height, size), tf.cast(inside, tf.float64), _scaling(width, size)
        )
        patch = scale(_rounded(patch)[None], model.pixel_range)
        translated = _levels(translate_fn(patch)["images"], model.pixel_range)
        blended = blend_graph(image[None], translated, window[None], exponent)[0]
        return tf.io.encode_png(_rounded(blended))

    def translate_bytes(data, windows):
        return {"images_bytes": tf.map_fn(paint, (data, windows), 2, fn_output_signature=tf.string)}

    windows = tf.TensorSpec((None, 4), tf.int32, name="windows")
    return translate_bytes, [tf.TensorSpec((None,), tf.string, name="bytes"), windows]


def _classes(model):
    return getattr(model, "num_classes", None)


def _images(model):
    def images(given, *labels):
        return {"images": tf.cast(model(given, *labels, training=False), tf.float32)}

    return images


def _image_input(model):
    return tf.TensorSpec(
        (None, model.image_size, model.image_size, model.channels), tf.float32, name="images"
    )


def _scaling(length, size):
    """Matrix that scales a line of `length` pixels to `size`, see `synthesis.resampling.resize`."""
    from keras import ops

    ratio = tf.cast(length, tf.float64) / size
    positions = (tf.range(size, dtype=tf.float64) + 0.5) * ratio - 0.5
    return interpolation(ops, positions, length, tf.maximum(ratio, 1.0))


def _levels(images, pixel_range):
    """`models.preprocessing.unscale` as operations."""
    low, high = pixel_range
    return _rounded((images - low) * (255.0 / (high - low)))


def _rounded(values):
    return tf.cast(tf.clip_by_value(tf.round(values), 0, 255), tf.uint8)


def _within(name, number, low, high):
    """An operation that fails, with a line that says why, unless `low <= number <= high`; None is no limit."""
    fits = number >= low if high is None else (number >= low) & (number <= high)
    bounds = [f" must be {low} or more"] if high is None else [f" must lie between {low} and ", high]
    return tf.debugging.Assert(fits, [name, *bounds, ". Received: ", number])
