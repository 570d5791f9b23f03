"""Losses beside the paper's, how near the images come to real ones, whether they are copies."""

import numpy as np
import pandas as pd

from keras_fracture import files
from keras_fracture.data import sheets
from keras_fracture.evaluation.generative import BY_NEIGHBOURS, too_few
from keras_fracture.experiment.runs import read_config, write_metrics
from keras_fracture.experiment.splits import counts, how_told
from keras_fracture.papers.bai_dcgan.config import Config
from keras_fracture.papers.bai_dcgan.experiment import gan_training_data, utility_epochs, watched_images
from keras_fracture.report import figures, galleries
from keras_fracture.report.generated import MEASURES
from keras_fracture.report.markdown import (
    Figures,
    counted,
    dated,
    decimal,
    markdown,
    over_seeds,
    overlap,
    percent,
)
from keras_fracture.report.results import profile

# What the table of all papers shows: what is measured, its metric, and which runs measured it.
HEADLINES = (("DCGAN: kernel distance to real images", "kid", {}),)
FRONT = (
    (
        "DCGAN, variant modern, kernel distance of its X-rays to real ones",
        "kid",
        {"data": "kaggle_fracture", "variant": "modern"},
        ("between two halves of the real ones, copies of one X-ray included", "real_vs_real"),
    ),
)  # of README
_UTILITY = {
    "trtr": "train on real, test on real",
    "tstr": "train on synthetic, test on real",
    "trts": "train on real, test on synthetic",
}
_NETWORKS = {"g_loss": "generator", "d_loss": "discriminator"}
_TELLS = "a discriminator's loss near 0 means that it tells generated images from real ones"
# What to look at in the figure of a loss; of one of your own nothing is known.
_LOOK = {
    "non_saturating": f"Look whether ours run through the paper's; {_TELLS}.",
    "hinge": f"With this loss, {_TELLS}.",
    "least_squares": f"With this loss, {_TELLS}.",
    "wasserstein": "The discriminator's is minus the distance that it finds between real and generated images, plus "
    "its gradient penalty: near 0 it does not tell them apart.",
}


def write(config, results, run):
    """Writes figures, `metrics.json` and `report.md`.

    Args:
        config: The `Config`.
        results: `experiment.Results`.
        run: An `experiment.runs.Run`.

    Returns:
        What `metrics.json` holds.
    """
    recorded = read_config(run.folder)
    histories = [gan.history for gan in results.gans]
    row = {
        "variant": config.variant,
        "model": "dcgan",
        "data": config.data_title,
        "split_policy": config.policy,
        "profile": recorded["profile"],
        "seeds": config.seeds,
        "epochs": config.epochs,
        "steps": config.epochs * _steps(config, results.sets),
        "minutes": _mean_over_seeds(
            [{"value": float(history["seconds"].sum()) / 60} for history in histories]
        ),
        "image_size": config.image_size,
        "width": config.width,
        "saved_model": "run-0/saved_model",
        "losses": {name: _loss_range(histories, name) for name in _NETWORKS},
        "metrics": {
            name: _mean_over_seeds([scores[name] for scores in results.scores]) for name in results.scores[0]
        },
        "utility": results.utility,
        "reported": _reported_of(config),
    }
    if config.seeds > 1:
        row["saved_model_metrics"] = results.scores[0]
    names = _figures(config, results, run.folder)
    columns = [history.assign(run=number) for number, history in enumerate(histories)]
    files.write_text(run.folder / "history.csv", pd.concat(columns).to_csv(index=False))
    splits = {config.policy: counts(results.sets)}
    files.write_text(
        run.folder / "report.md", _text(config, recorded, row, splits[config.policy], run.folder)
    )
    return write_metrics(run.folder, config, [row], splits=splits, figures=names)


def table(runs):
    """README's table: one row a run, losses of the last epoch beside the paper's."""
    header = ["data", "split", "variant", "generator loss, paper", "ours", "discriminator loss, paper", "ours",
              "KID, of several seeds lowest to highest", "KID, real against real", "near copies %", "real %",
              "epochs, minutes, seeds", "profile", "date"]  # fmt: skip
    rows = []
    for run in runs:
        scores, losses = run["metrics"], []
        for name in _NETWORKS:
            losses += [_paper_says(run, name, -1, ".2f"), f"{run['losses'][name]['last']:.2f}"]
        copies = scores["copies_features"]
        rows.append([
            run["data"], run["split_policy"], run["variant"], *losses,
            over_seeds(scores["kid"]),
            f"{scores['kid']['real_vs_real']:.3f}", f"{100 * copies['value']:.1f}",
            f"{100 * copies['real_vs_real']:.1f}",
            f"{run['epochs']}, {run['minutes']['value']:.0f}, {run['seeds']}",
            profile(run, Config, "image_size"), dated(run),
        ])  # fmt: skip
    return markdown(header, rows)


def _paper_says(run, name, epoch, form):
    """What the paper reports of a loss; nothing of other losses than its own."""
    points = run["reported"][name]
    return format(points[epoch][1], form) if points else ""


def compare(run):
    """One run beside the paper: what the table is about, and name of a number to (the paper's, ours)."""
    numbers = {}
    for name, network in _NETWORKS.items():
        for end, epoch in (("first", 0), ("last", -1)):
            reported = _paper_says(run, name, epoch, "g")
            numbers[f"{network} loss, {end} epoch"] = (reported, f"{run['losses'][name][end]:.4f}")
    for name, words in (("kid", "KID"), ("fid", "FID"), ("copies_features", "share of near copies")):
        score = run["metrics"][name]
        numbers[words] = ("", f"{score['value']:.4f} (real against real {score['real_vs_real']:.4f})")
    return run["model"], numbers


def _mean_over_seeds(values):
    """Mean of each number over seeds, but the fewest `images`; of several also the lowest and highest `value`."""
    mean = {name: float(np.mean([one[name] for one in values])) for name in values[0]}
    if "images" in mean:  # half of one would be none
        mean["images"] = int(min(one["images"] for one in values))
    each = [one["value"] for one in values]
    return mean | {"low": min(each), "high": max(each)}


def _steps(config, sets):
    images, _, _ = gan_training_data(config, sets["train"])
    return config.steps or len(images) // min(config.batch_size, len(images))


def _loss_range(histories, name):
    """The loss where the paper says something about it: mean of the first, of the last epoch, and its range."""
    values = np.array([history[name] for history in histories])
    return {
        "first": float(values[:, 0].mean()),
        "last": float(values[:, -1].mean()),
        "lowest": float(values.min()),
        "highest": float(values.max()),
    }


def _figures(config, results, folder):
    """Writes all figures; returns the names of those that show no real image."""
    histories = [gan.history for gan in results.gans]
    unit = " (nats)" if config.loss == "non_saturating" else ""
    title = f"{config.key}, {config.variant}"
    figures.losses(histories, _reported_of(config), folder / "losses.png", title, unit)
    scores = results.scores[0]
    real_vs_real = {
        "kid": scores["kid"]["real_vs_real"],
        "near_copies": scores["copies_features"]["real_vs_real"],
    }
    figures.metrics_over_epochs(
        histories, real_vs_real, folder / "metrics-over-epochs.png",
        f"{config.key}, {config.variant}: while training", config.seed, watched_images(config),
    )  # fmt: skip
    generated = results.gans[0].generated["finding"]
    generator = np.random.default_rng(config.seed)
    real = results.sets["train"].of(1)
    chosen = real[generator.choice(len(real), min(36, len(real)), replace=False)]
    figures.side_by_side(
        chosen, generated, folder / "real-and-generated.png", (f"real ({config.data_title})", "generated"),
        f"Images with a finding, {config.epochs} epochs, {config.variant}",
    )  # fmt: skip
    sheets.grid(generated[:36], folder / "generated.png")
    for name, near in results.near_copies.items():
        ours, theirs = near.closest(12)
        galleries.neighbours(
            generated[ours], real[theirs], folder / f"closest-{name}.png", ("generated", "nearest real")
        )
    samples = folder / "run-0" / "samples"
    galleries.animation(samples, folder / "samples.gif")
    galleries.over_time(samples, folder / "over-time.png", f"The same noise over epochs, {config.variant}")
    return ["losses.png", "metrics-over-epochs.png", "generated.png", "over-time.png"]


def _text(config, recorded, row, counts_, folder):
    numbered = Figures()
    lines = [
        f"# {config.title}\n",
        f"Re-run on `{config.data_title}`, {config.policy} split, profile `{recorded['profile']}`, variant "
        f"`{config.variant}`: {config.epochs} epochs of {row['steps'] // config.epochs} steps (the paper: 900), "
        f"{row['minutes']['value']:.0f} minutes a GAN, {config.seeds} seed(s).\n",
        *how_told(config),
        overlap(counts_, config.policy),
        *_within(config, counts_),
        "## Losses\n",
        _losses_table(config, row),
        numbered.add("losses.png", _losses_caption(config)),
        "## How near to real images\n",
        f"Features: `{config.extractor}`. *Real against real* is the same measure between two halves of the real "
        f"training images that share no X-ray, {row['metrics']['kid']['images']:.0f} images a side. A GAN that repeats "
        "images of both halves can lie below it: look at the near copies too. "
        f"Of its KID {row['metrics']['kid']['copies']:.4f} comes from copies of one X-ray, which images as good as the "
        "data would not owe. Of near copies *real against real* is the share of real images that lie as near to "
        "a training image of another X-ray, about 1 % by the threshold's making. Copies are found as they stand (by "
        "pixels also mirrored left to right): rotated or cropped ones are overlooked, so that a low share does not "
        "prove that nothing was learnt by heart.\n",
        _measures_table(config, row),
        *_shown(config, folder, numbered),
        "## Is it any use to a classifier?\n",
        "Both trainings get as many images of a class as the other, drawn from the larger set, of the first GAN's "
        "images; test sets are as they come, and *larger class* is the accuracy there of an answer that looks at no "
        "image. The same small CNN (compact_cnn, 3 seeds) learns for "
        f"{counted(utility_epochs(config), 'epoch')}{_fewer(config)}. {_real_healthy(config)}"
        "Real test images are those of the split above, with its leaks.\n",
        _utility_table(config, row, counts_["test"]),
        "## How this was made\n",
        f"- Command: `{recorded['command']}`, {recorded['date']}, first seed {config.seed}.",
        f"- Width {config.width}, {config.channels} channel(s), batch {config.batch_size}, Adam "
        f"{config.g_learning_rate:g} "
        f"(generator) and {config.d_learning_rate:g} (discriminator), loss {config.loss}, augmentation "
        f"{'DiffAugment' if config.augment else 'none'}, weight average {config.ema or 'none'}, classes "
        f"{config.condition or 'none'}.",
        "- `run-K/generator.keras`, `run-K/saved_model`, `samples.gif`; more images: `keras-fracture generate`.",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in recorded['versions'].items())}.\n",
        "Not for clinical use.",
    ]
    return "\n".join(lines) + "\n"


def _shown(config, folder, numbered):
    """The figures of what the GANs draw."""
    captions = {
        "metrics-over-epochs.png": f"KID to the training images and share of near copies while training, by "
        f"{watched_images(config):,} generated images; the table above is of other images and sizes. Dashed: the "
        "same of real images against real ones. Look whether KID still falls at the end, and whether copies rise above "
        "their line: images learnt by heart.",
        "over-time.png": "What the generator makes of the same noise, over its training.",
        "samples.gif": "The same as an animation that stays for two seconds at the last epoch. Look when bones "
        "take shape, and whether they still change at the end.",
        "real-and-generated.png": f"Training images with a finding ({config.data_title}) beside generated ones. Look "
        "for bones that end nowhere, and for the same image twice.",
        "closest-pixels.png": "The generated images whose grey levels come nearest to a training image, closest first, "
        "each above that training image. Look whether a pair shows one and the same X-ray.",
        "closest-features.png": f"The same by features ({config.extractor}) in place of grey levels.",
    }
    return [numbered.add(name, words) for name, words in captions.items() if (folder / name).exists()]


def _within(config, counts_):
    """That under the paper's policy one split is part of another, see `experiment.prepare_splits`."""
    if config.policy != "paper":
        return []
    inside, train = (counts_[name]["images"] for name in ("validation", "train"))
    return [
        f"The {inside:,} validation images, drawn from the paper's training set, are among the {train:,} training "
        "images: the GAN learns from them too.\n"
    ]


def _reported_of(config):
    """The paper's losses by epoch; none where ours are of another kind and cannot lie beside them."""
    same = config.loss == "non_saturating"
    return config.REPORTED if same else {name: [] for name in config.REPORTED}


def _losses_caption(config):
    beside = ", and what the paper reports of them"
    if config.loss != "non_saturating":
        beside = f", of the loss {config.loss}: the paper's are cross-entropies, and not drawn"
    return (
        f"Losses over epochs, {counted(config.seeds, 'seed')}{beside}. {_LOOK.get(config.loss, '')}".rstrip()
    )


def _losses_table(config, row):
    rows = [
        [
            _NETWORKS[name], f"{loss['first']:.3f}", f"{loss['last']:.3f}",
            f"{loss['lowest']:.3f} to {loss['highest']:.3f}",
            "; ".join(_reported(*point) for point in _reported_of(config)[name]),
        ]
        for name, loss in row["losses"].items()
    ]  # fmt: skip
    header = ["", "ours, first epoch", "ours, last epoch", "ours, range of epochs", "reported, by epoch"]
    return markdown(header, rows)


def _reported(epoch, value):
    epochs, values = (
        "-".join(f"{end:g}" for end in dict.fromkeys(given)) if isinstance(given, tuple) else f"{given:g}"
        for given in (epoch, value)
    )
    return f"{values} ({epochs})"


def _measures_table(config, row):
    rows, k = [], config.neighbours
    for name, words in MEASURES.items():
        score = row["metrics"][name]
        if name in BY_NEIGHBOURS and too_few(score["images"], k):
            words += f" (says little: its k is {k}, of {score['images']:.0f} images a side)"
        spread = f"{score['low']:.4f} to {score['high']:.4f}"
        rows.append([words, f"{score['value']:.4f}", spread, f"{score['real_vs_real']:.4f}"])
    return markdown(["measure", "generated", "lowest and highest seed", "real against real"], rows)


def _fewer(config):
    """Of a short run, that others have had more of them."""
    usual = utility_epochs(Config())
    few = utility_epochs(config) < usual
    return f", no more than the GAN (runs of {usual} epochs or more: {usual})" if few else ""


def _real_healthy(config):
    """What a GAN that draws one class alone does to the comparison."""
    if config.condition == "label":
        return ""
    return (
        "The GAN draws findings only: healthy images are real ones, also in the synthetic sets. There drawn and real "
        "images can be told apart by their style, without a look at the finding: if a classifier trained on them does "
        "worse, they need not lack it. "
    )


def _larger_class(config, test):
    """The share of the larger class in each arm's test set; `test` is the test split's `counts`."""
    findings, healthy = test["findings"], test["images"] - test["findings"]
    real = max(findings, healthy) / test["images"]
    made = config.generated_images
    drawn = made if config.condition == "label" else healthy
    return {"trtr": real, "tstr": real, "trts": max(made, drawn) / (made + drawn)}


def _utility_table(config, row, test):
    larger = _larger_class(config, test)
    rows = [
        [words, percent(row["utility"][arm]["accuracy"]), f"{100 * larger[arm]:.1f}",
         decimal(row["utility"][arm]["auc"])]
        for arm, words in _UTILITY.items()
    ]  # fmt: skip
    return markdown(["", "accuracy %", "larger class %", "AUC"], rows)
