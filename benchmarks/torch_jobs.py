"""The PyTorch side of `python -m benchmarks jobs`: whole trainings as one would write them in plain PyTorch.

A Dataset of prepared images, torchvision's transforms on Pillow images written out, a DataLoader with two workers,
metrics, validation, and a checkpoint an epoch. Run as a program it imports nothing of TensorFlow:
`python -m benchmarks.torch_jobs JOB FOLDER PRECISION EPOCHS`.
"""

import csv
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import nn
from torch.utils.data import DataLoader, Dataset

from tests.torch_twins.compact_cnn import compact_cnn
from tests.torch_twins.resnet import ResNet

_BATCH, _VALIDATION_BATCH = 32, 64
_BARE_STEPS = 20


class Images(Dataset):
    """uint8 images `(n, height, width)` and their labels; grey is repeated to `channels`."""

    def __init__(self, images, labels, channels, augment=None):
        self.images, self.labels = images, torch.from_numpy(labels).long()
        self.channels, self.augment = channels, augment

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        pixels = self.images[index]
        if self.augment:
            pixels = np.array(self.augment(Image.fromarray(pixels)))
        image = torch.from_numpy(pixels).float().div_(255)
        return image.expand(self.channels, -1, -1), self.labels[index]


def augment(image):
    """RandomHorizontalFlip, RandomAffine and ColorJitter(contrast) of torchvision on a grey Pillow image.

    In the ranges of `data.Augmentation`'s defaults.
    """
    flip, turn, zoom, right, down, contrast = (2 * torch.rand(6) - 1).tolist()
    if flip > 0:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    width, height = image.size
    angle, scale = 0.03 * 2 * math.pi * turn, 1 + 0.1 * zoom
    cosine, sine = math.cos(angle) / scale, math.sin(angle) / scale
    x, y = (width - 1) / 2, (height - 1) / 2
    left, top = x + 0.05 * width * right, y + 0.05 * height * down
    matrix = (cosine, sine, x - cosine * left - sine * top, -sine, cosine, y + sine * left - cosine * top)
    image = image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return ImageEnhance.Contrast(image).enhance(1 + 0.1 * contrast)


def focal(logits, labels, alpha=0.25, gamma=2.0):
    """Focal cross-entropy whose alpha scales both classes alike, the mean of the batch."""
    loss = nn.functional.cross_entropy(logits, labels, reduction="none")
    return (alpha * (1 - torch.exp(-loss)) ** gamma * loss).mean()


class LisbonResnet:
    """What `lisbon_resnet` trains: ResNet-18, focal loss, SGD with momentum on half a cosine, augmentation."""

    channels, augment, checkpoint = 3, staticmethod(augment), True

    def __init__(self, steps):
        self.model = ResNet((2, 2, 2, 2), bottleneck=False, channels=self.channels)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01, momentum=0.9)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, steps)

    def loss(self, logits, labels):
        """Of a batch."""
        return focal(logits, labels)

    def right(self, logits, labels):
        """How many of a batch are classified rightly."""
        return (logits.argmax(1) == labels).sum()


class IbrahimClassifier:
    """What `ibrahim_gan` trains on real images: the compact CNN, binary cross-entropy, Adam, no checkpoint."""

    channels, augment, checkpoint = 1, None, False

    def __init__(self, steps):
        layers = list(compact_cnn())
        layers.insert(7, nn.Dropout(0.25))
        layers.insert(-1, nn.Dropout(0.5))
        self.model = nn.Sequential(*layers)
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3)
        self.schedule = None

    def loss(self, logits, labels):
        """Of a batch."""
        return nn.functional.binary_cross_entropy_with_logits(logits[:, 0], labels.float())

    def right(self, logits, labels):
        """How many of a batch are classified rightly."""
        return ((logits[:, 0] > 0) == labels).sum()


JOBS = {"lisbon_resnet": LisbonResnet, "ibrahim_gan": IbrahimClassifier}


def train(job, sets, folder, epochs, bfloat16=False):
    """Trains, and validates after every epoch.

    Args:
        job: Name of one of `JOBS`.
        sets: "train" and "validation" to uint8 images `(n, height, width)` and labels `(n,)`.
        folder: Where history and checkpoint are written.
        epochs: Epochs.
        bfloat16: Whether to compute under autocast.

    Returns:
        Seconds of each epoch, and of a step alone on one batch; and a dict of metrics an epoch.
    """
    augmented = JOBS[job].augment
    loader = DataLoader(
        Images(*sets["train"], JOBS[job].channels, augmented),
        _BATCH, shuffle=True, drop_last=True, num_workers=2, persistent_workers=True,
    )  # fmt: skip
    validation = DataLoader(
        Images(*sets["validation"], JOBS[job].channels),
        _VALIDATION_BATCH, num_workers=2, persistent_workers=True,
    )  # fmt: skip
    job = JOBS[job](epochs * len(loader))
    job.model.to(memory_format=torch.channels_last)
    seconds, history = [], []
    for epoch in range(epochs):
        start = time.perf_counter()
        loss, accuracy = _pass_over(job, loader, bfloat16, learning=True)
        with torch.no_grad():
            val_loss, val_accuracy = _pass_over(job, validation, bfloat16, learning=False)
        history.append({"epoch": epoch + 1, "loss": loss, "accuracy": accuracy, "val_loss": val_loss,
                        "val_accuracy": val_accuracy})  # fmt: skip
        if job.checkpoint:
            _save(job, history, Path(folder))
        seconds.append(time.perf_counter() - start)
    return seconds, _bare_step(job, next(iter(loader)), bfloat16), history


def _pass_over(job, loader, bfloat16, learning):
    """Mean loss and accuracy of one pass."""
    job.model.train(learning)
    count = total = right = 0
    for images, labels in loader:
        loss, logits = _step(job, images, labels, bfloat16, learning)
        count += len(labels)
        total += loss.item() * len(labels)
        right += job.right(logits, labels).item()
    return total / count, right / count


def _step(job, images, labels, bfloat16, learning=True):
    images = images.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        logits = job.model(images)
    logits = logits.float()
    loss = job.loss(logits, labels)
    if learning:
        job.optimizer.zero_grad()
        loss.backward()
        job.optimizer.step()
        if job.schedule:
            job.schedule.step()
    return loss, logits


def _save(job, history, folder):
    parts = {name: getattr(job, name).state_dict() for name in ("model", "optimizer", "schedule")}
    torch.save(parts, folder / "checkpoint.new")
    (folder / "checkpoint.new").replace(folder / "checkpoint.pt")
    with (folder / "history.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, history[0])
        writer.writeheader()
        writer.writerows(history)


def _bare_step(job, batch, bfloat16):
    """Median seconds of a step on a batch that is already there."""
    job.model.train()
    seconds = []
    for _ in range(_BARE_STEPS):
        start = time.perf_counter()
        _step(job, *batch, bfloat16)[0].item()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[2:]))


def _main(job, folder, precision, epochs):
    torch.set_num_threads(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    )
    torch.manual_seed(0)
    with np.load(Path(folder) / "images.npz") as arrays:
        sets = {
            name: (arrays[f"{name}_images"][..., 0], arrays[f"{name}_labels"])
            for name in ("train", "validation")
        }
    seconds, bare, _ = train(job, sets, folder, int(epochs), precision == "bfloat16")
    print(bare, *seconds)


if __name__ == "__main__":
    _main(*sys.argv[1:])
