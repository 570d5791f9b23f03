"""Section 3 of the paper: patches, their translation by UNIT, blending, a filter, then classifiers by arm."""

import dataclasses
import functools
import hashlib
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from keras_fracture import files, models, synthesis, training
from keras_fracture.data import Augmentation, Preprocess
from keras_fracture.evaluation.predicting import predictor, probabilities
from keras_fracture.experiment import ahead
from keras_fracture.experiment.runs import load_or_compute, save_if_missing
from keras_fracture.experiment.splits import Split, concatenate, load_splits, synthetic
from keras_fracture.papers.gupta_unit.checks import LowestKID, choose_exponent, judge_patches, judge_seams
from keras_fracture.papers.gupta_unit.parts import parts_of, without_hardware
from keras_fracture.papers.gupta_unit.study import Arm, Study, Translator, exactly
from keras_fracture.training.distribution import ONE_DEVICE
from keras_fracture.training.unit import adam as unit_adam

_WATCHED = 8  # healthy patches whose translations are kept while training
UNPAINTED = ("unvaried", "baseline", "oversampled", "weighted", "pool")  # arms without painted images
_BASELINE = "baseline.keras"
# Each draws numbers of its own.
PURPOSES = ("training", "painting", "pasting", "choosing", "checking", "validation")
_VALIDATION_PATCHES = 1000  # of each kind at most, by which a translator is chosen


class Classifier(NamedTuple):
    """The network that all arms are trained on, one after the other.

    Attributes:
        model: Compiled.
        predict_fn: Function of uint8 images that returns probabilities.
    """

    model: keras.Model
    predict_fn: callable


def run(config, run):
    """Trains the translators and all arms of each part.

    Args:
        config: A `Config`.
        run: An `experiment.runs.Run`.

    Returns:
        A list of `Study`, one a part.
    """
    parts = load_parts(config, run)
    jobs = [(place, "translator", 0) for place in range(min(len(parts), config.translators))]
    jobs += [
        (place, arm, number)
        for place in range(len(parts))
        for arm in UNPAINTED
        for number in range(config.seeds)
    ]
    ahead.train(config, run, _train_job, jobs)
    studies, classifier = [], build_classifier(config, run.strategy)
    for part in parts:
        folder = run.folder / part.folder
        own = train_translator(config, run, part, folder) if len(studies) < config.translators else None
        lender = studies[0] if studies else None
        studies.append(study_part(config, run, classifier, part, own, lender, folder))
    return studies


def load_parts(config, run):
    """The three parts of the data set, a list of `parts.Part`."""
    sets = load_splits(config, preprocess(config), "grouped", run.data_dir)
    images = concatenate(sets["train"], sets["validation"], sets["test"])
    made = images.table.assign(synthetic=synthetic(config, images.table))  # no test in another split either
    images = dataclasses.replace(images, table=made)
    return parts_of(images, config.data, config.shares, config.min_lesions, config.seed)


_parts = functools.lru_cache(maxsize=1)(load_parts)


def _train_job(config, run, job):
    """A translator, or a classifier of an arm without painted images, by a worker."""
    place, arm, number = job
    part = _parts(config, run)[place]
    folder = run.folder / part.folder
    if arm == "translator":
        train_translator(config, run, part, folder)
    else:
        classifier = _classifier(config)
        train_arm(config, classifier, part, folder, arm, **unpainted(part, arm, folder), numbers=(number,))


def preprocess(config):
    """The whole image, fitted into a square."""
    return Preprocess(size=config.image_size)


def train_translator(config, run, part, folder):
    """Trains the translator of a part, or goes on where a killed run stopped; returns a `Translator`."""
    keras.utils.set_random_seed(config.seed)
    unit = build_translator(config, run.strategy)
    lesions = lesion_patches(config, part.pool, config.patches, "training")
    healthy = healthy_patches(config, part.train, lesions, config.patches, "training")

    def stream(first):
        return training.pairs_of(
            healthy.images,
            lesions.images,
            batch_size=config.unit_batch,
            seed=config.seed,
            first_epoch=first,
            steps=config.unit_steps,
            pixel_range=unit.translator.pixel_range,
        )

    watched = healthy.images[:_WATCHED]
    grids = training.SampleGrid(
        folder / "unit" / "samples",
        every=max(1, config.unit_epochs // 30),
        draw=lambda unit: np.concatenate([watched, unit.translate(watched)]),
        columns=len(watched),
    )
    best = validation_kid(config, part, lesions, folder / "unit")
    bar = training.Progress(f"UNIT, {part.name}", config.unit_epochs)
    callbacks = [grids, *([best] if best else []), bar]
    history = training.fit(unit, stream, config.unit_epochs, folder / "unit", callbacks=callbacks, verbose=0)
    chosen = best and best.restore(unit, history)
    save_if_missing(unit.sampler, folder / "unit" / "translator.keras")
    # Of the numbers, not of the file: a zip archive holds the time it was written at.
    digest = hashlib.sha256(b"".join(np.asarray(weight).tobytes() for weight in unit.sampler.weights))
    return Translator(unit, history, healthy, lesions, digest.hexdigest()[:12], chosen)


def validation_kid(config, part, lesions, folder):
    """The `checks.LowestKID` that a translator is chosen by, or None where its last epoch is taken."""
    if config.unit_eval_every is None:
        return None
    count = min(_VALIDATION_PATCHES, config.patches)
    return LowestKID(
        folder,
        healthy_patches(config, part.validation, lesions, count, "validation").images,
        lesion_patches(config, part.validation, count, "validation").images,
        every=config.unit_eval_every,
        epochs=config.unit_epochs,
    )


def build_translator(config, strategy=ONE_DEVICE):
    """UNIT and its two discriminators, compiled."""
    shape = {
        "preset": config.preset, "image_size": config.patch_size, "channels": 1, "width": config.width,
    }  # fmt: skip
    with strategy.scope():
        unit = training.UNITModel(
            models.create("unit", **shape),
            *(models.create("unit_discriminator", **shape) for _ in range(2)),
            noise=config.unit_noise,
            ema=config.unit_ema,
            seed=config.seed,
        )
        unit.compile(
            g_optimizer=unit_adam(config.preset, config.unit_learning_rate),
            d_optimizer=unit_adam(config.preset, config.unit_d_learning_rate or config.unit_learning_rate),
        )
    return unit


def seed_of(config, purpose):
    """A seed of its own for each thing that is drawn: else the windows painted would be those trained on."""
    return [config.seed, PURPOSES.index(purpose)]


def lesion_patches(config, split, count, purpose):
    """Patches round the lesions of a split, for one of `PURPOSES`."""
    return synthesis.lesion_patches(
        split.images, split.boxes, _regions(split), config.patch_size, count, seed_of(config, purpose)
    )


def healthy_patches(config, split, lesions, count, purpose):
    """Patches of a split's healthy images, where the patches `lesions` lie; `rows` count these images."""
    healthy = split.take(split.labels == 0)
    return synthesis.healthy_patches(
        healthy.images, _regions(healthy), lesions, config.patch_size, count, seed_of(config, purpose)
    )


def study_part(config, run, classifier, part, own, lender, folder):
    """All arms of one part; `lender` is the `Study` whose translator and filter are lent, or None."""
    train_arm_ = functools.partial(train_arm, config, classifier, part, folder)
    arms = {arm: train_arm_(arm, **unpainted(part, arm, folder)) for arm in UNPAINTED}
    scorer = keras.saving.load_model(folder / _BASELINE, compile=False)
    places = places_to_paint(config, part)
    seams = judge_exponents(config, run, part, own, places) if own else {}
    exponent = choose_exponent(seams, config.seam_limit) if config.exponent is None else config.exponent
    painters = {
        "augmented": own and (own, scorer, exponent),
        "transfer": lender and (lender.own, lender.scorer, lender.exponent),
    }
    painters = {arm: painter for arm, painter in painters.items() if painter}
    painted = {}
    for arm, painter in painters.items():
        painted[arm] = paint(config, part, places, *painter, folder / arm)
        arms[arm] = choose_threshold(config, classifier, part, folder, arm, painted[arm])
    *_, pasted_at = next(iter(painters.values()))
    pasted = paste(config, part, places, max(arms[arm].added for arm in painted), pasted_at)
    arms["copy_paste"] = train_arm_("copy_paste", with_lesions(part.train, pasted))
    checks = check(config, run, part, own, seams, exponent) if own else {}
    return Study(part, own, scorer, arms, painted, checks, exponent if own else lender.exponent)


def unpainted(part, arm, folder):
    """Arguments of `train_arm` for one of `UNPAINTED`."""
    train = part.train
    if arm == "oversampled":
        healthy, lesions = (np.flatnonzero(train.labels == label) for label in (0, 1))
        return {"train": train.take(np.concatenate([healthy, np.resize(lesions, len(healthy))]))}
    if arm == "pool":
        unseen = ~part.pool.table["filename"].isin(train.table["filename"]).to_numpy()
        # With hardware in lesions alone, it would be learnt for one.
        return {"train": concatenate(train, part.pool.take(unseen & without_hardware(part.pool)))}
    further = {
        "unvaried": {"augment": False},
        "baseline": {"save_to": folder / _BASELINE},
        "weighted": {"class_weight": training.class_weights(train.labels)},
    }
    return {"train": train, **further[arm]}


@functools.lru_cache(maxsize=1)
def _classifier(config):
    return build_classifier(config)


def build_classifier(config, strategy=ONE_DEVICE):
    """The network of the classifiers, compiled, as a `Classifier`."""
    shape = {"widths": config.widths} if config.widths else {}
    with strategy.scope():
        model = models.create(config.network, image_size=config.image_size, channels=1, **shape)
        training.add_l2(model, config.weight_decay)
        model.compile(
            keras.optimizers.Adam(config.learning_rate), keras.losses.BinaryCrossentropy(from_logits=True)
        )
    return Classifier(model, predictor(model))


def train_arm(
    config, classifier, part, folder, arm, train, augment=True, class_weight=None, numbers=None, save_to=None
):
    """Trains an arm's classifiers on a split, saves the first to `save_to`, if given; returns an `Arm`."""
    runs = [
        load_or_compute(
            folder / "classifiers" / f"{arm}-{number}.npz",
            functools.partial(
                train_classifier, config, classifier, part, train, config.seed + number, augment, class_weight,
                None if number else save_to,
            ),
        )
        for number in numbers or range(config.seeds)
    ]  # fmt: skip
    by_split = {split: np.stack([run[split] for run in runs]) for split in ("validation", "test")}
    return Arm(by_split, int(train.labels.sum()))


def train_classifier(config, classifier, part, train, seed, augment, class_weight, save_to=None):
    """Trains one classifier anew, saves it to `save_to`, if given; returns its probabilities by split."""
    model = classifier.model
    training.reset_weights(model, seed)
    training.fit_briefly(
        model,
        train.images,
        train.labels,
        config.epochs,
        batch_size=config.batch_size,
        seed=seed,
        steps=-(-len(part.train.labels) // config.batch_size),
        augment=Augmentation(seed=seed, value_range=model.pixel_range) if augment else None,
        class_weight=class_weight,
    )
    if save_to:
        with files.writing(save_to) as beside:
            model.save(beside)
    held_out = {"validation": part.validation, "test": part.test}
    return {name: classifier.predict_fn(split.images) for name, split in held_out.items()}


def places_to_paint(config, part):
    """`synthesis.Patches` of the healthy training images: where a lesion is painted into each.

    They lie where the part's own training lesions do, also where the translator is lent.
    """
    lesions = lesion_patches(config, part.train.take(part.train.labels == 1), config.patches, "painting")
    return healthy_patches(config, part.train, lesions, int((part.train.labels == 0).sum()), "painting")


def paint(config, part, places, translator, scorer, exponent, folder):
    """A lesion in each healthy training image, and the filter's score: arrays of what `synthesis.paint` does."""
    healthy = part.train.take(part.train.labels == 0)

    def paint_all():
        images, _ = synthesis.paint(
            healthy.images[places.rows],
            places.windows,
            translator.unit.translate,
            exponent,
            config.patch_size,
        )
        return {
            "images": images, "rows": places.rows, "windows": places.windows,
            "scores": probabilities(scorer, images),
        }  # fmt: skip

    painted = load_or_compute(folder.with_suffix(".npz"), paint_all)
    if not folder.exists():
        table = synthesis.describe(
            healthy.table, painted["rows"], painted["windows"], painted["images"].shape[1:3], n=exponent,
            seed=config.seed, scores=painted["scores"], model=f"unit, {config.preset}", weights=translator.digest,
        )  # fmt: skip
        synthesis.write(painted["images"], table, folder)
    return painted


def choose_threshold(config, classifier, part, folder, arm, painted):
    """The arm with painted images above that threshold which is best on validation images, by first seed."""
    scores = painted["scores"]
    offered = {
        *config.thresholds,
        *(float(np.quantile(scores, 1 - share)) for share in config.passing_shares),
    }
    thresholds = sorted(limit for limit in offered if limit < scores.max()) or config.thresholds[:1]
    sets, validation_auc = {}, {}
    for limit in thresholds:
        sets[limit] = with_lesions(part.train, painted["images"][synthesis.above_threshold(scores, limit)])
        first = train_arm(
            config, classifier, part, folder, f"{arm}-{exactly(limit)}", sets[limit], numbers=(0,)
        )
        validation_auc[limit] = float(
            roc_auc_score(part.validation.labels, first.probabilities["validation"][0])
        )
    best = max(validation_auc, key=validation_auc.get)
    chosen = train_arm(config, classifier, part, folder, f"{arm}-{exactly(best)}", sets[best])
    added = len(sets[best].labels) - len(part.train.labels)
    return dataclasses.replace(chosen, added=added, threshold=best, tried=validation_auc)


def paste(config, part, places, count, exponent):
    """Healthy training images with patches of real lesions in `count` of the painted windows."""
    rng = np.random.default_rng(seed_of(config, "pasting"))
    chosen = rng.permutation(len(places.rows))[:count]
    patches = lesion_patches(config, part.pool, count, "pasting")
    images = part.train.of(0)[places.rows[chosen]]
    return synthesis.copy_paste(
        images, places.windows[chosen], patches.images, exponent, seed_of(config, "choosing")
    )[0]


def judge_exponents(config, run, part, own, places):
    """The AUC with which the seam is found on training images: exponent of the blending to value, low and high."""
    before = part.train.take(part.train.labels == 0).take(places.rows)
    seams = {}
    for n in sorted({*config.exponents, config.exponent} - {None}):
        images, _ = synthesis.paint(before.images, places.windows, own.unit.translate, n, config.patch_size)
        seams[n] = judge_seams(before, images, places.windows, config.patch_size, config.seed, run.strategy)
    return seams


def check(config, run, part, own, seams, exponent):
    """Whether patches look like lesions and turn back, on test images; and what `judge_exponents` found."""
    healthy = healthy_patches(config, part.test, own.lesions, config.patches, "checking")
    lesions = lesion_patches(config, part.test, config.patches, "checking")
    test = part.test  # rows of healthy patches count healthy images alone
    sources = test.sources[test.labels == 0][healthy.rows], test.sources[lesions.rows]
    return {
        **judge_patches(own, healthy, lesions, sources, config.seed, run.strategy),
        "exponent": exponent,
        "seam_auc": seams[exponent],
        "seams": {f"{n:g}": auc for n, auc in seams.items()},
        **({"chosen": own.chosen} if own.chosen else {}),
    }


def with_lesions(split, images):
    """A split and further images with a lesion, of which no more is known."""
    table = pd.DataFrame(index=range(len(images)))
    return concatenate(split, Split(images, np.ones(len(images), split.labels.dtype), table))


def _regions(split):
    return split.table["body_part"].to_numpy().astype(str)
