"""The classifier behind the feature extractor `xray`. Not a paper: what generators are judged by."""

import dataclasses
import json
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
import scipy

from keras_fracture import evaluation, files, models, training
from keras_fracture.data import Augmentation, Preprocess, batches
from keras_fracture.evaluation import Predictions
from keras_fracture.evaluation.bootstrap import Clusters
from keras_fracture.models.preprocessing import scale
from keras_fracture.papers.recipe import Recipe
from keras_fracture.report import tables


@dataclasses.dataclass(frozen=True)
class XrayFeatures(Recipe):
    """A narrow ResNet-18 that tells body part and finding of small images together.

        keras-fracture reproduce xray_features --results results

    Both at once, since a classifier of findings alone forgets what does not bear on them, and a generator must
    get the anatomy right too. Trained on FracAtlas, so that it has seen no image of the sets generators learn
    from. Its penultimate maps, averaged, are the features of `evaluation`'s extractor `xray`; the weights that
    come with the package are those of this command's run folder (`xray.keras`).

    Attributes:
        policy: Split policy.
        image_size: Side of the images in pixels.
        width: Of the ResNet's first stage; 64 is the usual. The features are 8 times as many.
        epochs: Of the training; the weights of the epoch with the lowest validation loss are kept.
        batch_size: Images a step.
        learning_rate: Highest learning rate.
        weight_decay: L2 weight decay of the kernels.
    """

    key = "xray_features"
    title = "Features of X-rays: body part and finding together"
    PROFILES: ClassVar = {
        "smoke": {"data": "phantom", "image_size": 32, "width": 4, "epochs": 1},
        "quick": {},
        "paper": {},
    }

    data: str = "fracatlas"
    policy: str = "grouped"
    image_size: int = 64
    width: int = 16
    epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 0.05
    weight_decay: float = 5e-4

    @property
    def split_policies(self):
        """See `Recipe.split_policies`."""
        return (self.policy,)

    def run(self, out, data_dir=None):
        """See `Recipe.run`."""
        out = Path(out)
        sets = self.labelled(Preprocess(size=self.image_size), self.policy, data_dir)
        parts = sorted(set(sets["train"].table["body_part"]))
        # Class 2k is part k without, 2k + 1 with a finding.
        classes = {
            name: 2 * np.array([parts.index(part) for part in split.table["body_part"]]) + split.labels
            for name, split in sets.items()
        }
        model = self.train(sets, classes, 2 * len(parts), out)
        bare = type(model).from_config(model.get_config())  # an optimizer would double the file
        bare.set_weights(model.get_weights())
        with files.writing(out / "xray.keras") as beside:
            bare.save(beside)
        scores = {name: self.scores(bare, sets[name], classes[name]) for name in ("validation", "test")}
        return self.write(scores, parts, out)

    def train(self, sets, classes, count, out):
        """Trains the classifier, or goes on with a run that was cut off; returns it with its best weights."""
        keras.utils.set_random_seed(self.seed)
        steps = self.epochs * (len(sets["train"].labels) // self.batch_size)
        with training.distribution.scope():
            model = models.create(
                "resnet18", num_classes=count, width=self.width, image_size=self.image_size, channels=1
            )
            training.add_l2(model, self.weight_decay)
            model.compile(
                training.sgd(self.learning_rate, steps, warmup=steps // 20),
                keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
                metrics=[keras.metrics.CategoricalAccuracy("accuracy")],
            )
        targets = {name: np.eye(count, dtype="float32")[values] for name, values in classes.items()}

        def stream(first):
            return training.make_train_dataset(
                sets["train"].images,
                targets["train"],
                batch_size=self.batch_size,
                seed=self.seed,
                first_epoch=first,
                pixel_range=model.pixel_range,
                augment=Augmentation(seed=self.seed, value_range=model.pixel_range),
            )

        checked = sets["validation"].images, targets["validation"]
        training.fit(
            model,
            stream,
            self.epochs,
            out / "training",
            callbacks=[training.Progress("features", self.epochs)],
            validation_data=batches(checked, len(checked[0]), 64, pixel_range=model.pixel_range),
            patience=self.epochs,
            verbose=0,
        )
        return model

    def scores(self, model, split, classes):
        """How often body part and both are right, and how well findings are told, each with an interval."""
        logits = model.predict(scale(split.images, model.pixel_range), batch_size=64, verbose=0)
        probabilities = scipy.special.softmax(logits.astype(np.float64), axis=1)
        top, clusters = probabilities.argmax(axis=1), Clusters(split.sources)
        right = {"accuracy": top == classes, "body_part_accuracy": top // 2 == classes // 2}
        found = {
            name: clusters.interval(lambda weights, _, hits=hits: np.average(hits, weights=weights))
            for name, hits in right.items()
        }
        findings = Predictions(split.labels, split.sources, probabilities[:, 1::2].sum(axis=1)[None])
        return found | {"finding_auc": evaluation.scores(findings, ("auc",))["auc"]}

    def write(self, scores, parts, out):
        """Writes `metrics.json` and `report.md`; returns the former's content."""
        run = {
            "variant": "",
            "model": "resnet18",
            "data": self.data,
            "split_policy": self.policy,
            "profile": json.loads((out / "config.json").read_text(encoding="utf-8"))["profile"],
            "metrics": scores["test"]
            | {f"validation_{name}": score for name, score in scores["validation"].items()},
        }
        rows = [[name, *(tables.decimal(scores[split][name]) for split in scores)] for name in scores["test"]]
        text = (
            f"# {self.title}\n\nResNet-18 of width {self.width} on {self.image_size}x{self.image_size} pixels of "
            f"{self.data} ({self.policy} split), {self.epochs} epochs, seed {self.seed}. Body parts: "
            f"{', '.join(parts)}. `xray.keras` holds the epoch with the lowest validation loss.\n\n"
            + tables.markdown(["share of images, or AUC", *scores], rows)
        )
        files.write_text(out / "report.md", text)
        metrics = {"runs": [run], "settings": dataclasses.asdict(self), "body_parts": parts}
        # Last, because a run folder with metrics.json is a finished run.
        files.write_text(out / "metrics.json", json.dumps(metrics, indent=1) + "\n")
        return metrics
