"""Lesions painted into healthy X-rays, and classifiers that learn from them: the `gupta_unit` paper."""

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from keras_fracture import files, models, synthesis, training
from keras_fracture.data import Augmentation, Preprocess
from keras_fracture.evaluation.predicting import predictor, probabilities
from keras_fracture.papers.lesion_checks import judge_patches, judge_seams
from keras_fracture.papers.lesion_parts import parts_of
from keras_fracture.papers.lesion_study import Arm, Study, Translator
from keras_fracture.papers.recipe import Recipe, Split, joined, load_or_compute
from keras_fracture.training.unit import adam as unit_adam

DRAWN = ("training", "painting", "pasting", "choosing", "checking")  # each from numbers of its own


@dataclasses.dataclass(frozen=True)
class GuptaUNIT(Recipe):
    """UNIT turns healthy patches into patches with a lesion; blended back, they join the training images.

        keras-fracture reproduce gupta_unit --data phantom      # embedded data
        keras-fracture reproduce gupta_unit                     # quick, BTXRD: upper limb, tibia, femur
        keras-fracture reproduce gupta_unit --data fracatlas    # leg, hip, shoulder; fractures

    Source: Gupta, Chopra and Ledig, "Generative Bone Lesions Synthesis for Data Augmentation in X-ray". Its data
    are private; `lesion_parts.ROLES` says who stands for humerus, tibia and femur. Reported in Table 2, AUC of
    the femur: 0.533 without, 0.682 with images from the humerus' translator; ours: results/gupta_unit.json.
    Not stated: sizes, steps, and the classifiers' optimizer (here Adam) and decay.

    Every arm takes as many steps, and all but `unvaried` vary the images as the paper's do. Beside the paper's
    `baseline`, `augmented` (the part's own translator) and `transfer` (that of the first part) stand `oversampled`
    and `weighted` (lesions as often, or as heavy, as healthy images), `pool` (all lesions that the translator
    saw, which are more than the classifier's) and `copy_paste` (patches of these, blended in the same way).

    Attributes:
        shares: Of training, validation and test, by source.
        fewest: Training images with a lesion that every part keeps, see `lesion_parts.parts_of`.
        seeds: Classifiers an arm.
        network: Of the classifiers.
        widths: Of its levels, or None for the network's own.
        image_size: Side of the whole images in pixels.
        epochs: Of each classifier.
        batch_size: Images a step of a classifier.
        learning_rate: Of a classifier's Adam.
        weight_decay: L2 weight decay of its kernels.
        preset: Of the translator, "nips2017" or "munit".
        patch_size: Side of its patches in pixels.
        width: Of its first maps; 64 is the paper's.
        unit_epochs: Between which it is saved.
        unit_steps: Steps an epoch.
        unit_batch: Patches of each kind a step.
        unit_learning_rate: Of its Adam.
        unit_ema: Decay of the weight average that paints, or None.
        patches: Of each kind it learns from.
        translators: So many parts have a translator of their own; the paper could train none on the femur.
        exponent: Of the blending; larger leaves more of the patch.
        exponents: Others whose seams are looked at too.
        thresholds: Of the filter, one of which is chosen on validation images. Those that no image passes
            are left out; 0 lets all pass.
        passing: Further thresholds, as the shares of painted images that pass them. The paper's own, 0.9 and
            0.95, let 1 to 29 % pass; where lesions are so rare that the baseline is never sure, they let none.
    """

    key = "gupta_unit"
    title = "Generative Bone Lesions Synthesis for Data Augmentation in X-ray (Gupta, Chopra, Ledig)"
    # Table 2: AUC with its interval, threshold, images added.
    REPORTED: ClassVar = {
        "humerus": {"baseline": (0.876, 0.817, 0.926, None, 0), "augmented": (0.924, 0.889, 0.955, 0.9, 401)},
        "tibia": {
            "baseline": (0.618, 0.532, 0.705, None, 0),
            "augmented": (0.640, 0.547, 0.732, 0.9, 124),
            "transfer": (0.698, 0.610, 0.785, 0.9, 1264),
        },
        "femur": {"baseline": (0.533, 0.441, 0.627, None, 0), "transfer": (0.682, 0.594, 0.764, 0.95, 1342)},
    }
    _NARROW: ClassVar = (8, 8, 8, 16, 32, 64, 64, 64)
    PROFILES: ClassVar = {
        "smoke": {
            "data": "phantom", "seeds": 1, "network": "compact_cnn", "image_size": 32, "epochs": 1, "patch_size": 32,
            "width": 4, "unit_epochs": 1, "unit_steps": 2, "patches": 40, "thresholds": (0.0,), "passing": (0.5,),
            "translators": 1, "exponents": (1.0,),
        },
        "quick": {
            "widths": _NARROW, "image_size": 96, "epochs": 12, "patch_size": 64, "width": 16, "unit_epochs": 6,
            "unit_steps": 100, "unit_batch": 4, "unit_learning_rate": 2e-3, "patches": 1500,
        },
        "paper": {},
    }  # fmt: skip

    data: str = "btxrd"
    shares: tuple = (0.45, 0.15, 0.4)
    fewest: int = 8
    seeds: int = 2
    network: str = "drn_d_22"
    widths: tuple | None = None
    image_size: int = 224
    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    preset: str = "nips2017"
    patch_size: int = 128
    width: int = 64
    unit_epochs: int = 100
    unit_steps: int = 1000
    unit_batch: int = 1
    unit_learning_rate: float = 1e-4
    unit_ema: float | None = 0.99
    patches: int = 5000
    translators: int = 2
    exponent: float = 2.0
    exponents: tuple = (0.5, 1.0, 2.0, 4.0)
    thresholds: tuple = (0.0, 0.9, 0.95)
    passing: tuple = (0.3, 0.1, 0.03)

    @property
    def preprocess(self):
        """The whole image, fitted into a square."""
        return Preprocess(size=self.image_size)

    def run(self, out, data_dir=None):
        """See `Recipe.run`."""
        out = Path(out)
        sets = self.labelled(self.preprocess, "grouped", data_dir)
        everything = joined(joined(sets["train"], sets["validation"]), sets["test"])
        studies = []
        for part in parts_of(everything, self.data, self.shares, self.fewest, self.seed):
            folder = out / part.folder
            own = self.train_translator(part, folder) if len(studies) < self.translators else None
            studies.append(self.study(part, own, studies[0] if studies else None, folder))
        from keras_fracture.report import gupta_unit

        return gupta_unit.write(self, studies, out)

    def train_translator(self, part, folder):
        """Trains the translator of a part, or goes on where a killed run stopped; returns what `Translator` holds."""
        keras.utils.set_random_seed(self.seed)
        shape = {
            "preset": self.preset, "image_size": self.patch_size, "channels": 1, "width": self.width,
        }  # fmt: skip
        with training.distribution.scope():
            unit = training.UNITModel(
                models.create("unit", **shape),
                *(models.create("unit_discriminator", **shape) for _ in range(2)),
                ema=self.unit_ema,
                seed=self.seed,
            )
            unit.compile(*(unit_adam(self.preset, self.unit_learning_rate) for _ in range(2)))
        lesions = self.lesion_patches(part.pool, self.patches, "training")
        healthy = self.healthy_patches(part.train, lesions, self.patches, "training")

        def stream(first):
            return training.pairs_of(
                healthy.images,
                lesions.images,
                batch_size=self.unit_batch,
                seed=self.seed,
                first_epoch=first,
                steps=self.unit_steps,
                pixel_range=unit.translator.pixel_range,
            )

        bar = training.Progress(f"UNIT, {part.name}", self.unit_epochs)
        history = training.fit(unit, stream, self.unit_epochs, folder / "unit", callbacks=[bar], verbose=0)
        path = folder / "unit" / "translator.keras"
        if not path.exists():
            with files.writing(path) as beside:
                unit.sampler.save(beside)
        # Of the numbers, not of the file: a zip archive holds the time it was written at.
        digest = hashlib.sha256(b"".join(np.asarray(weight).tobytes() for weight in unit.sampler.weights))
        return Translator(unit, history, healthy, lesions, digest.hexdigest()[:12])

    def seed_of(self, purpose):
        """A seed of its own for each thing that is drawn: else the windows painted would be those trained on."""
        return [self.seed, DRAWN.index(purpose)]

    def lesion_patches(self, split, count, purpose):
        """Patches round the lesions of a split, for one of `DRAWN`."""
        return synthesis.lesion_patches(
            split.images, split.boxes, _regions(split), self.patch_size, count, self.seed_of(purpose)
        )

    def healthy_patches(self, split, lesions, count, purpose):
        """Patches of a split's healthy images, where the patches `lesions` lie; `rows` count these images."""
        healthy = split.take(split.labels == 0)
        return synthesis.healthy_patches(
            healthy.images, _regions(healthy), lesions, self.patch_size, count, self.seed_of(purpose)
        )

    def study(self, part, own, lender, folder):
        """All arms of one part; `lender` is the `Study` whose translator and filter are lent, or None."""
        train = part.train
        healthy, lesions = (np.flatnonzero(train.labels == label) for label in (0, 1))
        often = train.take(np.concatenate([healthy, np.resize(lesions, len(healthy))]))
        unseen = ~part.pool.table["filename"].isin(train.table["filename"]).to_numpy()
        kept = folder / "baseline.keras"
        classify = functools.partial(self.classify, part, folder)
        arms = {
            "unvaried": classify("unvaried", train, varied=False),
            "baseline": classify("baseline", train, kept=kept),
            "oversampled": classify("oversampled", often),
            "weighted": classify("weighted", train, class_weight=training.class_weights(train.labels)),
            "pool": classify("pool", joined(train, part.pool.take(unseen))),
        }
        judge = keras.saving.load_model(kept, compile=False)
        helpers = {"augmented": own and (own, judge), "transfer": lender and (lender.own, lender.judge)}
        painted = {}
        for arm, helper in helpers.items():
            if helper:
                painted[arm] = self.paint(part, *helper, folder / arm)
                arms[arm] = self.choose(part, folder, arm, painted[arm])
        first = next(iter(painted.values()))
        pasted = self.paste(part, first, max(arms[arm].added for arm in painted))
        arms["copy_paste"] = classify("copy_paste", with_lesions(train, pasted))
        checks = self.check(part, own, painted["augmented"]) if own else {}
        return Study(part, own, judge, arms, painted, checks)

    def classify(self, part, folder, arm, train, varied=True, class_weight=None, seeds=None, kept=None):
        """Trains an arm's classifiers on a split, saves the first if `kept` is a path; returns what `Arm` holds."""
        runs = [
            load_or_compute(
                folder / "classifiers" / f"{arm}-{number}.npz",
                functools.partial(
                    self.train_classifier, part, train, self.seed + number, varied, class_weight,
                    None if number else kept,
                ),
            )
            for number in range(seeds or self.seeds)
        ]  # fmt: skip
        probabilities = {split: np.stack([run[split] for run in runs]) for split in ("validation", "test")}
        return Arm(probabilities, int(train.labels.sum()))

    @functools.cached_property
    def classifier(self):
        """The network all arms are trained on, one after the other."""
        shape = {"widths": self.widths} if self.widths else {}
        with training.distribution.scope():
            model = models.create(self.network, image_size=self.image_size, channels=1, **shape)
            training.add_l2(model, self.weight_decay)
            model.compile(
                keras.optimizers.Adam(self.learning_rate), keras.losses.BinaryCrossentropy(from_logits=True)
            )
        return model

    @functools.cached_property
    def answer(self):
        """What `classifier` says of images."""
        return predictor(self.classifier)

    def train_classifier(self, part, train, seed, varied, class_weight, kept=None):
        """Trains one classifier, saves it if `kept` is a path; returns its probabilities by split."""
        model = self.classifier
        training.reset_weights(model, seed)
        training.fit_briefly(
            model,
            train.images,
            train.labels,
            self.epochs,
            batch_size=self.batch_size,
            seed=seed,
            steps=-(-len(part.train.labels) // self.batch_size),
            augment=Augmentation(seed=seed, value_range=model.pixel_range) if varied else None,
            class_weight=class_weight,
        )
        if kept:
            with files.writing(kept) as beside:
                model.save(beside)
        held = {"validation": part.validation, "test": part.test}
        return {name: self.answer(split.images) for name, split in held.items()}

    def paint(self, part, translator, judge, folder):
        """A lesion in each healthy training image, and the filter's score: arrays of what `synthesis.paint` does.

        Places are those of the part's own training lesions, also where the translator is lent.
        """
        healthy = part.train.take(part.train.labels == 0)

        def make():
            lesions = part.train.take(part.train.labels == 1)
            places = self.lesion_patches(lesions, self.patches, "painting")
            found = self.healthy_patches(part.train, places, len(healthy.labels), "painting")
            images, _ = synthesis.paint(
                healthy.images[found.rows],
                found.windows,
                translator.unit.translate,
                self.exponent,
                self.patch_size,
            )
            return {
                "images": images, "rows": found.rows, "windows": found.windows,
                "scores": probabilities(judge, images),
            }  # fmt: skip

        painted = load_or_compute(folder.with_suffix(".npz"), make)
        if not folder.exists():
            table = synthesis.describe(
                healthy.table, painted["rows"], painted["windows"], painted["images"].shape[1:3], n=self.exponent,
                seed=self.seed, scores=painted["scores"], model=f"unit, {self.preset}", weights=translator.digest,
            )  # fmt: skip
            synthesis.write(painted["images"], table, folder)
        return painted

    def choose(self, part, folder, arm, painted):
        """The arm with painted images above that threshold which is best on validation images, by first seed."""
        scores = painted["scores"]
        offered = {*self.thresholds, *(float(np.quantile(scores, 1 - share)) for share in self.passing)}
        passed = sorted(limit for limit in offered if limit < scores.max()) or self.thresholds[:1]
        sets, tried = {}, {}
        for limit in passed:
            sets[limit] = with_lesions(part.train, painted["images"][synthesis.keep(scores, limit)])
            one = self.classify(part, folder, f"{arm}-{limit:g}", sets[limit], seeds=1)
            tried[limit] = float(roc_auc_score(part.validation.labels, one.probabilities["validation"][0]))
        best = max(tried, key=tried.get)
        found = self.classify(part, folder, f"{arm}-{best:g}", sets[best])
        added = len(sets[best].labels) - len(part.train.labels)
        return dataclasses.replace(found, added=added, threshold=best, tried=tried)

    def paste(self, part, painted, count):
        """Healthy training images with patches of real lesions in `count` of the painted windows."""
        chosen = np.random.default_rng(self.seed_of("pasting")).permutation(len(painted["rows"]))[:count]
        patches = self.lesion_patches(part.pool, count, "pasting")
        images = part.train.of(0)[painted["rows"][chosen]]
        return synthesis.copy_paste(
            images, painted["windows"][chosen], patches.images, self.exponent, self.seed_of("choosing")
        )[0]

    def check(self, part, own, painted):
        """Whether patches look like lesions, turn back, and leave no seam; on images that taught nobody."""
        healthy = self.healthy_patches(part.test, own.lesions, self.patches, "checking")
        lesions = self.lesion_patches(part.test, self.patches, "checking")
        before = part.train.take(part.train.labels == 0).take(painted["rows"])
        windows, seams = painted["windows"], {}
        for n in sorted({self.exponent, *self.exponents}):
            images, _ = synthesis.paint(before.images, windows, own.unit.translate, n, self.patch_size)
            seams[n] = judge_seams(before, images, windows, self.patch_size, self.seed)
        return {
            **judge_patches(own, healthy, lesions, self.seed),
            "seam_auc": seams[self.exponent],
            "seams": {f"{n:g}": found for n, found in seams.items()},
        }


def with_lesions(split, images):
    """A split and further images with a lesion, of which no more is known."""
    table = pd.DataFrame(index=range(len(images)))
    return joined(split, Split(images, np.ones(len(images), split.labels.dtype), table))


def _regions(split):
    return split.table["body_part"].to_numpy().astype(str)
