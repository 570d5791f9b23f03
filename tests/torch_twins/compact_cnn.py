"""PyTorch twin of the poster's compact CNN. Keras's BatchNormalization defaults, in PyTorch's terms."""

from torch import nn


def compact_cnn(num_classes=1, channels=1):
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, stride=3),
        nn.ReLU(),
        nn.BatchNorm2d(32, eps=1e-3, momentum=0.01),
        nn.Conv2d(32, 16, 3, stride=3),
        nn.ReLU(),
        nn.MaxPool2d(3),
        nn.BatchNorm2d(16, eps=1e-3, momentum=0.01),
        nn.Flatten(),
        nn.Linear(64, 128),
        nn.ReLU(),
        nn.Linear(128, num_classes),
    )
