"""Training steps of DCGAN and UNIT and their PyTorch twins: `keras-fracture benchmark models --models dcgan unit`.

A step of the DCGAN as in `bai_dcgan`: the discriminator's update, then the generator's on noise drawn anew, by
Adam. One of UNIT as in `gupta_unit`, preset "nips2017": both discriminators' update, then the translator's. Run as
a program this measures memory; it then imports one of the two libraries only.
"""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from keras_fracture.errors import BenchmarkError

SIZES = {"dcgan": (32, 64), "unit": (1, 64)}  # batch (for UNIT of pairs), side of a picture
_RATE, _BETAS = 0.002, (0.5, 0.999)
_STEPS = 3  # until memory stands still
_CHECKOUT = Path(__file__).resolve().parents[2]


def our_step(name, batch_size, image_size):
    """Returns a GAN's networks and a function that trains them a step, in float32."""
    import tensorflow as tf

    from keras_fracture import models
    from keras_fracture.training import Adam, AdversarialModel, UNITModel

    if name == "unit":
        names = "unit", "unit_discriminator", "unit_discriminator"
        nets = [models.create(each, image_size=image_size) for each in names]
        model = UNITModel(*nets)
        model.compile()
        pair = tuple(tf.constant(_pictures(batch_size, image_size)) for _ in range(2))
        graph = tf.function(model.train_step)
        return *nets, lambda: float(graph(pair)["g_loss"])
    shape = {"image_size": image_size}
    nets = models.create("dcgan_generator", **shape), models.create("dcgan_discriminator", **shape)
    model = AdversarialModel(*nets, redraw=True)
    model.compile(*(Adam(_RATE, *_BETAS) for _ in nets))
    images = tf.constant(_pictures(batch_size, image_size))
    graph = tf.function(model.train_step)
    return *nets, lambda: float(graph(images)["g_loss"])


def torch_step(name, batch_size, image_size, precision="float32"):
    """Returns the twins of a GAN's networks, channels last, and a function that trains them a step."""
    import torch

    from tests.torch_twins import dcgan

    if name == "unit":
        return _torch_unit_step(batch_size, image_size, precision)
    twins = dcgan.Generator(image_size=image_size), dcgan.Discriminator(image_size=image_size)
    generator, discriminator = (twin.to(memory_format=torch.channels_last) for twin in twins)
    g_adam, d_adam = (torch.optim.Adam(twin.parameters(), _RATE, _BETAS) for twin in twins)
    images = torch.from_numpy(_pictures(batch_size, image_size).transpose(0, 3, 1, 2).copy())
    images = images.to(memory_format=torch.channels_last)
    softplus = torch.nn.functional.softplus

    def autocast():
        return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")

    def step():
        d_adam.zero_grad()
        with autocast():
            with torch.no_grad():
                fake = generator(torch.randn(batch_size, 100))
            d_loss = softplus(-discriminator(images)).mean() + softplus(discriminator(fake)).mean()
        d_loss.backward()
        d_adam.step()
        g_adam.zero_grad()
        discriminator.requires_grad_(False)
        with autocast():
            g_loss = softplus(-discriminator(generator(torch.randn(batch_size, 100)))).mean()
        g_loss.backward()
        discriminator.requires_grad_(True)
        g_adam.step()
        return g_loss.item()

    return generator, discriminator, step


def _torch_unit_step(batch_size, image_size, precision):
    import torch

    from keras_fracture.training import unit as training
    from tests.torch_twins import unit

    nets = [unit.Unit(), unit.Discriminator(), unit.Discriminator()]
    nets = [net.to(memory_format=torch.channels_last) for net in nets]
    judging = [*nets[1].parameters(), *nets[2].parameters()]
    adams = [
        torch.optim.Adam(weights, 1e-4, _BETAS, weight_decay=1e-4)
        for weights in (judging, nets[0].parameters())
    ]
    pair = [
        torch.from_numpy(_pictures(batch_size, image_size).transpose(0, 3, 1, 2).copy()) for _ in range(2)
    ]
    pair = [images.to(memory_format=torch.channels_last) for images in pair]
    latents = (batch_size, 256, image_size // 4, image_size // 4)

    def step():
        noises = [torch.randn(latents).to(memory_format=torch.channels_last) for _ in range(4)]
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            return unit.step(nets[0], nets[1:], adams, *pair, noises, training.WEIGHTS["nips2017"])["g_loss"]

    return *nets, step


def peak_memory(side, name, batch_size, image_size):
    """Peak resident memory in MiB of a process that does nothing but a few float32 steps of one side.

    Args:
        side: "ours" or "pytorch".
        name: One of `SIZES`.
        batch_size: Pictures a step.
        image_size: Side of a picture in pixels.

    Returns:
        A dict of `library`, what importing it takes, and `step`, what networks and training take beyond that; or
        None where there is no /proc/self/status.

    Raises:
        BenchmarkError: The process failed.
    """
    command = [sys.executable, "-m", __name__, side, name, str(batch_size), str(image_size)]
    environment = os.environ | {"PYTHONPATH": str(_CHECKOUT), "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BenchmarkError(f"Memory of {side} cannot be measured. Received: {done.returncode}, {last}")
    found = [float(number) for number in done.stdout.split()]
    return {"library": found[0], "step": found[1] - found[0]} if found else None


def _pictures(batch_size, image_size):
    shape = (batch_size, image_size, image_size, 3)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")


def _main(side, name, batch_size, image_size):
    importlib.import_module({"ours": "keras_fracture.training", "pytorch": "torch"}[side])
    print_peak()
    *_, step = {"ours": our_step, "pytorch": torch_step}[side](name, int(batch_size), int(image_size))
    for _ in range(_STEPS):
        step()
    print_peak()


def print_peak():
    """Prints the most memory in MiB that this process ever held; nothing where there is no /proc/self/status."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not getrusage's ru_maxrss, which counts the parent of before exec.
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        print(int(peak.split()[1]) / 1024)


if __name__ == "__main__":
    _main(*sys.argv[1:])
