"""A PyTorch classifier on our data, from the images to the board: torchvision's ResNet-18 by `lisbon_resnet`'s recipe.

    pip install "keras-fracture[torch]" torchvision
    python examples/pytorch_baseline.py --data fracatlas --size 128 --seeds 3 --out predictions.csv
    keras-fracture score predictions.csv --data fracatlas

The recipe is the variant `tuned` (papers/lisbon_resnet/config.py): CLAHE, images fitted and padded, varied a little;
body parts learnt beside findings; SGD with momentum, warm-up and half a cosine; weight decay of kernels;
labels smoothed.
The same in Keras: `keras-fracture reproduce lisbon_resnet --depth 18 --variant tuned --set image_size=128 --seeds 3`.
"""

import argparse
import csv
import math
import time

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import models
from torchvision.transforms import InterpolationMode, v2

BATCH, LEARNING_RATE, WARM_UP, SMOOTHING, WEIGHT_DECAY = 32, 0.05, 0.05, 0.1, 5e-4
BILINEAR = InterpolationMode.BILINEAR
VARIED = v2.Compose([
    v2.RandomHorizontalFlip(),
    v2.RandomAffine(0.03 * 360, translate=(0.05, 0.05), scale=(0.9, 1.1), interpolation=BILINEAR),
    v2.ColorJitter(contrast=0.1),
])  # fmt: skip


class WithBodyPart(nn.Module):
    """ResNet-18 with two heads on the same features: two classes, and body parts."""

    def __init__(self, parts):
        super().__init__()
        self.net = models.resnet18(num_classes=2)
        self.features = nn.Sequential(*list(self.net.children())[:-1], nn.Flatten())
        self.body_part = nn.Linear(self.net.fc.in_features, parts)

    def forward(self, images):
        features = self.features(images)
        return self.net.fc(features), self.body_part(features)


class WithPart(torch.utils.data.Dataset):
    """A data set with the number of each image's body part beside its label."""

    def __init__(self, images, parts):
        self.images = images
        self.part = [parts.index(part) for part in images.table["body_part"]]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        return *self.images[row], self.part[row]


def train(images, parts, seed, epochs, steps, workers):
    """A trained network; `steps` ends training early."""
    torch.manual_seed(seed)
    network = WithBodyPart(len(parts)).to(memory_format=torch.channels_last).train()
    loader = DataLoader(
        WithPart(images, parts), min(BATCH, len(images)), shuffle=True, drop_last=True, num_workers=workers,
        persistent_workers=workers > 0,
    )  # fmt: skip
    kernels = [one for one in network.net.parameters() if one.ndim > 1]
    others = [one for one in network.net.parameters() if one.ndim == 1] + list(network.body_part.parameters())
    groups = [{"params": kernels, "weight_decay": WEIGHT_DECAY}, {"params": others}]
    optimizer = torch.optim.SGD(groups, LEARNING_RATE, momentum=0.9)
    total = epochs * len(loader)
    warm_up = int(WARM_UP * total)

    def factor(step):
        if step < warm_up:
            return step / warm_up
        return (1 + math.cos(math.pi * (step - warm_up) / (total - warm_up))) / 2

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    finding_loss, part_loss = nn.CrossEntropyLoss(label_smoothing=SMOOTHING), nn.CrossEntropyLoss()
    done = 0
    for epoch in range(epochs):
        start, losses = time.perf_counter(), []
        for batch, labels, part in loader:
            finding, body_part = network(batch.to(memory_format=torch.channels_last))
            loss = finding_loss(finding, labels) + part_loss(body_part, part)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            done += 1
            if done == steps:
                return network
        seconds = time.perf_counter() - start
        print(
            f"seed {seed}, epoch {epoch + 1}: loss {sum(losses) / len(losses):.3f}, {seconds:.0f} s",
            flush=True,
        )
    return network


@torch.no_grad()
def probabilities(network, images):
    """The probability of a finding of each image, a list."""
    network.eval()
    logits = [network(batch)[0] for batch, _ in DataLoader(images, 64)]
    return torch.cat(logits).double().softmax(1)[:, 1].tolist()


def main():
    """Trains, asks about the test images, writes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="fracatlas", help="data set, or the path of your own X-rays")
    parser.add_argument("--size", type=int, default=128, help="side of the images in pixels")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3, help="how many trainings")
    parser.add_argument("--steps", type=int, help="end each training after so many, to try it out")
    parser.add_argument("--workers", type=int, default=1, help="processes that read and vary images")
    parser.add_argument("--out", default="predictions.csv")
    options = parser.parse_args()

    # Here and not above: these import TensorFlow, which a worker that is spawned does without.
    from keras_fracture.data import Preprocess
    from keras_fracture.interop.torch import dataset

    preprocess = Preprocess(size=options.size, clahe=(2.0, 8), channels=3)
    images = dataset(options.data, "train", preprocess=preprocess, transform=VARIED)
    test = dataset(options.data, "test", preprocess=preprocess)
    parts = sorted(set(images.table["body_part"]))
    rows = []
    for seed in range(options.seeds):
        network = train(images, parts, seed, options.epochs, options.steps, options.workers)
        rows += [
            (name, seed, one)
            for name, one in zip(test.table["filename"], probabilities(network, test), strict=True)
        ]
    with open(options.out, "w", newline="") as stream:
        csv.writer(stream).writerows([("filename", "seed", "probability"), *rows])
    print(f"wrote {options.out}; go on with: keras-fracture score {options.out} --data {options.data}")


if __name__ == "__main__":
    main()
