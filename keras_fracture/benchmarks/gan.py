"""Training steps of the DCGAN and its PyTorch twin, for `keras-fracture benchmark models --models dcgan`.

A step as in `bai_dcgan`: the discriminator's update, then the generator's on noise drawn anew, by Adam. Run as a
program this measures memory; it then imports one of the two libraries only.
"""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from keras_fracture.errors import BenchmarkError

NAME, BATCH_SIZE, IMAGE_SIZE = "dcgan", 32, 64
SIZES = (32, 64, 128)
_RATE, _BETAS = 0.002, (0.5, 0.999)
_STEPS = 3  # until memory stands still
_CHECKOUT = Path(__file__).resolve().parents[2]


def our_step(batch_size, image_size):
    """Returns the generator, the discriminator and a function that trains them a step, in float32."""
    import keras
    import tensorflow as tf

    from keras_fracture import models
    from keras_fracture.training import AdversarialModel

    shape = {"image_size": image_size}
    nets = models.create("dcgan_generator", **shape), models.create("dcgan_discriminator", **shape)
    model = AdversarialModel(*nets, redraw=True)
    model.compile(*(keras.optimizers.Adam(_RATE, *_BETAS) for _ in nets))
    images = tf.constant(_pictures(batch_size, image_size))
    graph = tf.function(model.train_step)
    return *nets, lambda: float(graph(images)["g_loss"])


def torch_step(batch_size, image_size, precision="float32"):
    """Returns the twins of generator and discriminator, channels last, and a function that trains them a step."""
    import torch

    from tests.torch_twins import dcgan

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


def peak_memory(side, batch_size, image_size):
    """Peak resident memory in MiB of a process that does nothing but a few float32 steps of one side.

    Args:
        side: "ours" or "pytorch".
        batch_size: Pictures a step.
        image_size: Side of a picture in pixels.

    Returns:
        A dict of `library`, what importing it takes, and `step`, what networks and training take beyond that; or
        None where there is no /proc/self/status.

    Raises:
        BenchmarkError: The process failed.
    """
    command = [sys.executable, "-m", __name__, side, str(batch_size), str(image_size)]
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


def _main(side, batch_size, image_size):
    importlib.import_module({"ours": "keras_fracture.training", "pytorch": "torch"}[side])
    _print_peak()
    *_, step = {"ours": our_step, "pytorch": torch_step}[side](int(batch_size), int(image_size))
    for _ in range(_STEPS):
        step()
    _print_peak()


def _print_peak():
    status = Path("/proc/self/status")
    if status.is_file():
        # Not getrusage's ru_maxrss, which counts the parent of before exec.
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        print(int(peak.split()[1]) / 1024)


if __name__ == "__main__":
    _main(*sys.argv[1:])
