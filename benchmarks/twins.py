"""A training step of every architecture and of its PyTorch twin: what `python -m benchmarks models` times.

Ours is the `train_step` that `fit` runs, in one graph. Classifiers learn two classes by SGD. GANs train as in their
papers: `dcgan` draws noise anew for the generator as `bai_dcgan` does, `dense_gan` shows both networks one batch as
`ibrahim_gan` does, `unit` and `unit_munit` are the two presets of `gupta_unit`. Run as a program this measures
memory; it then imports one of the two libraries only.
"""

import importlib
import json
import sys
import time

import numpy as np

from benchmarks.errors import BenchmarkError
from benchmarks.processes import numbers_of, print_peak

# Images a step (for UNIT pairs), side of an image in pixels.
GANS = {"dcgan": (32, 64), "dense_gan": (32, 64), "unit": (1, 64), "unit_munit": (1, 64)}
_OWN = {"compact_cnn": (32, 64)}
_CLASSIFIER = (8, 224)
_LEARNING_RATE, _GAN_LEARNING_RATE, _BETAS = 0.01, 0.002, (0.5, 0.999)
_WARM_UP = 3  # steps until memory stands still


def names():
    """Names of what has a twin, sorted."""
    from keras_fracture import models

    classifiers = ("resnet", "drn_", "inception_net", "compact_cnn", "efficientnet_lite")
    return sorted([*GANS, *(name for name in models.names() if name.startswith(classifiers))])


def sizes(name, batch_size=None, image_size=None):
    """`batch_size` and `image_size` of a model as a dict; None is its own."""
    own = (GANS | _OWN).get(name, _CLASSIFIER)
    return {"batch_size": batch_size or own[0], "image_size": image_size or own[1]}


def networks(name, image_size):
    """Our networks as a benchmark trains them.

    Args:
        name: One of `names()`.
        image_size: Side of an image in pixels.

    Returns:
        A list: a classifier of two classes; or generator and discriminator; or translator and two discriminators.
    """
    from keras_fracture import models

    shape = {"image_size": image_size}
    if name.startswith("unit"):
        shape["preset"] = "munit" if name == "unit_munit" else "nips2017"
        return [models.create(each, **shape) for each in ("unit", *2 * ("unit_discriminator",))]
    # The twins have no dropout.
    if name in GANS:
        dropout = {"dropout": 0.0} if name == "dense_gan" else {}
        parts = (
            models.create(f"{name}_generator", **shape),
            models.create(f"{name}_discriminator", **shape, **dropout),
        )
        return list(parts)
    dropout = {
        each: {"dropout": 0.0} for each in names() if each.startswith(("inception_net", "efficientnet"))
    }
    dropout["compact_cnn"] = {"dropout": (0.0, 0.0)}
    return [models.create(name, num_classes=2, **shape, **dropout.get(name, {}))]


def ours(name, nets, batch_size, image_size, jit=False):
    """A training step of ours, in the precision that the networks were built in.

    The arguments are those of `graph`.

    Returns:
        A function that trains them a step and returns a loss.
    """
    step, batch = graph(name, nets, batch_size, image_size, jit)
    key = "g_loss" if name in GANS else "loss"
    return lambda: float(step(batch)[key])


def graph(name, nets, batch_size, image_size, jit=False):
    """The `tf.function` of such a step.

    Args:
        name: One of `names()`.
        nets: What `networks` returned.
        batch_size: Images a step; of UNIT, pairs.
        image_size: Side of an image in pixels.
        jit: Whether XLA compiles the whole step.

    Returns:
        The function, and a batch for it.
    """
    import keras
    import tensorflow as tf

    from keras_fracture.training import Adam, AdversarialModel, UNITModel

    if name.startswith("unit"):
        model = UNITModel(*nets)
        model.compile()
        batch = tuple(_images(batch_size, image_size) for _ in range(2))
    elif name in GANS:
        model = AdversarialModel(*nets, fresh_noise=name == "dcgan")
        g_optimizer, d_optimizer = (Adam(_GAN_LEARNING_RATE, *_BETAS) for _ in nets)
        model.compile(g_optimizer=g_optimizer, d_optimizer=d_optimizer)
        batch = _images(batch_size, image_size)
    else:
        (model,) = nets
        model.compile(
            keras.optimizers.SGD(_LEARNING_RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        model.optimizer.build(model.trainable_variables)
        batch = _images(batch_size, image_size, model.channels, low=0), _labels(batch_size)
    batch = tf.nest.map_structure(tf.constant, batch)
    return tf.function(model.train_step, jit_compile=jit or None), batch


def seconds(step):
    """How long one call takes."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def parameters(nets):
    """How many trainable weights our networks have together."""
    return sum(int(np.prod(weight.shape)) for net in nets for weight in net.trainable_weights)


def plan_twins(name, nets, image_size):
    """What builds the PyTorch twins of our networks, without TensorFlow.

    Args:
        name: One of `names()`.
        nets: What `networks` returned.
        image_size: Side of an image in pixels.

    Returns:
        A dict that JSON can hold: `twins`, of each its module in tests/torch_twins, function, arguments and named
        arguments; `weights` of UNIT's loss.
    """
    shape, weights = {"image_size": image_size}, None
    if name.startswith("unit"):
        from keras_fracture.training.unit import WEIGHTS

        preset = nets[0].preset
        twins, weights = (
            [["unit", each, [preset], {}] for each in ("Unit", *2 * ("Discriminator",))],
            WEIGHTS[preset],
        )
    elif name == "dcgan":
        twins = [["dcgan", each, [], shape] for each in ("Generator", "Discriminator")]
    elif name == "dense_gan":
        twins = [["dense_gan", f"dense_{each}", [], shape] for each in ("generator", "discriminator")]
    else:
        from keras_fracture.models import ResNet

        (model,) = nets
        named = {"num_classes": model.num_classes, "channels": model.channels}
        if name == "compact_cnn":
            twins = [["compact_cnn", "compact_cnn", [], named]]
        elif name == "inception_net":
            named |= {"stem_width": model.stem_width, "stages": model.stages, "reduction": model.reduction}
            twins = [["inception", "inception_net", [], named]]
        elif name.startswith("efficientnet_lite"):
            named = {"num_classes": model.num_classes, "stages": model.stages}
            twins = [["efficientnet_lite", "EfficientNetLite", [], named]]
        elif isinstance(model, ResNet):
            named |= {"width": model.width, "strides": model.strides, "dilations": model.dilations}
            twins = [["resnet", "ResNet", [model.depths, model.block == "bottleneck"], named]]
        else:
            given = [model.arch, model.depths, model.block == "bottleneck"]
            twins = [["drn", "DRN", given, named | {"widths": model.widths}]]
    return {"twins": twins, "weights": weights}


def pytorch():
    """The module torch.

    Raises:
        BenchmarkError: PyTorch is missing.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise BenchmarkError(
            f'The twins need PyTorch: pip install "keras-fracture[torch]". Received: {error}'
        ) from error


def build(plan):
    """The PyTorch networks of `plan_twins`, with random weights of their own.

    Raises:
        BenchmarkError: PyTorch is missing.
    """
    pytorch()
    return [
        getattr(importlib.import_module(f"tests.torch_twins.{module}"), function)(*given, **named)
        for module, function, given, named in plan["twins"]
    ]


def theirs(name, nets, weights, batch_size, image_size, precision="float32"):
    """A training step of the PyTorch twins, channels last.

    Args:
        name: One of `names()`.
        nets: What `build` returned.
        weights: `weights` of the plan.
        batch_size: Images a step; of UNIT, pairs.
        image_size: Side of an image in pixels.
        precision: "float32", or "bfloat16" for autocast.

    Returns:
        A function that trains them a step and returns a loss.
    """
    import torch

    for net in nets:
        net.train().to(memory_format=torch.channels_last)
    autocast = _autocast(precision)
    if name.startswith("unit"):
        return _unit_step(nets, weights, batch_size, image_size, autocast)
    if name in GANS:
        return _gan_step(name, nets, batch_size, image_size, autocast)
    (net,) = nets
    channels = next(net.parameters()).shape[1]
    images, labels = (
        _tensor(_images(batch_size, image_size, channels, low=0)),
        torch.from_numpy(_labels(batch_size)),
    )
    optimizer = torch.optim.SGD(net.parameters(), _LEARNING_RATE)

    def step():
        optimizer.zero_grad()
        with autocast():
            loss = torch.nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _gan_step(name, nets, batch_size, image_size, autocast):
    import torch

    generator, discriminator = nets
    fresh_noise, latent = (True, 100) if name == "dcgan" else (False, 128)
    g_adam, d_adam = (torch.optim.Adam(net.parameters(), _GAN_LEARNING_RATE, _BETAS) for net in nets)
    images = _tensor(_images(batch_size, image_size))
    softplus = torch.nn.functional.softplus

    def step():
        d_adam.zero_grad()
        with autocast():
            # Like ours, one pass of the generator a step where both networks see the same images.
            with torch.set_grad_enabled(not fresh_noise):
                fake = generator(torch.randn(batch_size, latent))
            d_loss = softplus(-discriminator(images)).mean() + softplus(discriminator(fake.detach())).mean()
        d_loss.backward()
        d_adam.step()
        g_adam.zero_grad()
        discriminator.requires_grad_(False)
        with autocast():
            generated = generator(torch.randn(batch_size, latent)) if fresh_noise else fake
            g_loss = softplus(-discriminator(generated)).mean()
        g_loss.backward()
        discriminator.requires_grad_(True)
        g_adam.step()
        return g_loss.item()

    return step


def _unit_step(nets, weights, batch_size, image_size, autocast):
    import torch

    from tests.torch_twins import unit

    discriminators = [*nets[1].parameters(), *nets[2].parameters()]
    adams = [
        torch.optim.Adam(parameters, 1e-4, _BETAS, weight_decay=1e-4)
        for parameters in (discriminators, nets[0].parameters())
    ]
    pair = [_tensor(_images(batch_size, image_size)) for _ in range(2)]
    with torch.no_grad():
        latents = nets[0].encode(pair[0], "a").shape

    def step():
        noises = [torch.randn(latents).to(memory_format=torch.channels_last) for _ in range(4)]
        with autocast():
            return unit.step(nets[0], nets[1:], adams, *pair, noises, weights)["g_loss"]

    return step


def _autocast(precision):
    import torch

    return lambda: torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")


def _images(batch_size, image_size, channels=3, low=-1):
    shape = (batch_size, image_size, image_size, channels)
    return np.random.default_rng(0).uniform(low, 1, shape).astype("float32")


def _labels(batch_size):
    return np.random.default_rng(1).integers(0, 2, batch_size)


def _tensor(images):
    import torch

    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(memory_format=torch.channels_last)


def peak_memory(side, name, batch_size, image_size, plan):
    """Peak resident memory in MiB of a process that does nothing but a few float32 steps of one side.

    Args:
        side: "ours" or "pytorch".
        name: One of `names()`.
        batch_size: Images a step.
        image_size: Side of an image in pixels.
        plan: What `plan_twins` returned.

    Returns:
        A dict of `library`, what importing it takes, and `step`, what networks and training take beyond that; or
        None where there is no /proc/self/status.

    Raises:
        BenchmarkError: The process failed.
    """
    peaks = numbers_of(__name__, side, name, batch_size, image_size, json.dumps(plan))
    return {"library": peaks[0], "step": peaks[1] - peaks[0]} if peaks else None


def _main(side, name, batch_size, image_size, plan):
    importlib.import_module({"ours": "keras_fracture.training", "pytorch": "torch"}[side])
    print_peak()
    size = int(batch_size), int(image_size)
    if side == "ours":
        step = ours(name, networks(name, size[1]), *size)
    else:
        plan = json.loads(plan)
        step = theirs(name, build(plan), plan["weights"], *size)
    for _ in range(_WARM_UP):
        step()
    print_peak()


if __name__ == "__main__":
    _main(*sys.argv[1:])
