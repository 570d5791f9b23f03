"""The report of `bai_dcgan`: its losses, how near the images come to real ones, whether they are copies."""

import dataclasses
import json

import numpy as np
import pandas as pd

from keras_fracture import files
from keras_fracture.data import sheets
from keras_fracture.report import figures, tables
from keras_fracture.report import results as report_results

_WORDS = {
    "kid": "KID (kernel distance), lower is better",
    "fid": "FID (Fréchet distance), lower is better",
    "precision": "precision: share of generated images that look real",
    "recall": "recall: share of real images the generator could draw",
    "density": "density",
    "coverage": "coverage",
    "ms_ssim": "MS-SSIM between images of the set, lower is more diverse",
    "copies_pixels": "near copies, by pixels",
    "copies_features": "near copies, by features",
}
_USE = {
    "trtr": "train on real, test on real",
    "tstr": "train on synthetic, test on real",
    "trts": "train on real, test on synthetic",
}
_NAMES = {"g_loss": "generator", "d_loss": "discriminator"}


def write(recipe, sets, trained, judged, useful, out):
    """Writes figures, `metrics.json` and `report.md`.

    Args:
        recipe: The recipe, with its settings and `REPORTED`.
        sets: Split name to `papers.recipe.Split`.
        trained: A list of `papers.bai_dcgan.Trained`, one a seed.
        judged: What `BaiDCGAN.judge` found, one a seed.
        useful: What `BaiDCGAN.utility` found.
        out: Run folder.

    Returns:
        What `metrics.json` holds.
    """
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    scores = {name: _over_seeds([one[name] for one, _ in judged]) for name in judged[0][0]}
    histories = [one.history for one in trained]
    run = {
        "variant": recipe.variant,
        "model": "dcgan",
        "data": recipe.data,
        "split_policy": recipe.policy,
        "profile": config["profile"],
        "seeds": recipe.seeds,
        "epochs": recipe.epochs,
        "steps": recipe.epochs * _steps(recipe, sets),
        "minutes": _over_seeds([{"value": float(history["seconds"].sum()) / 60} for history in histories]),
        "image_size": recipe.image_size,
        "width": recipe.width,
        "saved_model": "run-0/saved_model",
        "losses": {name: _ranges(histories, name) for name in _NAMES},
        "metrics": scores,
        "utility": useful,
        "reported": recipe.REPORTED,
    }
    shown = _figures(recipe, sets, trained, judged, out)
    metrics = {
        "runs": [run],
        "settings": dataclasses.asdict(recipe),
        "splits": {recipe.policy: report_results.counts(sets)},
        "figures": shown,
    }
    columns = [history.assign(run=number) for number, history in enumerate(histories)]
    files.write_text(out / "history.csv", pd.concat(columns).to_csv(index=False))
    files.write_text(out / "report.md", _text(recipe, config, run, metrics))
    # Last, because a run folder with metrics.json is a finished run.
    files.write_text(out / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    return metrics


def _over_seeds(values):
    """Mean of each number over seeds; with several seeds also the lowest and highest `value`."""
    mean = {name: float(np.mean([one[name] for one in values])) for name in values[0]}
    each = [one["value"] for one in values]
    return mean | {"low": min(each), "high": max(each)}


def _steps(recipe, sets):
    shown, _, _ = recipe.shown(sets["train"])
    return recipe.steps or len(shown) // min(recipe.batch_size, len(shown))


def _ranges(histories, name):
    """The loss where the paper says something about it: mean of the first, of the last epoch, and its range."""
    values = np.array([history[name] for history in histories])
    return {
        "first": float(values[:, 0].mean()),
        "last": float(values[:, -1].mean()),
        "lowest": float(values.min()),
        "highest": float(values.max()),
    }


def _figures(recipe, sets, trained, judged, out):
    """Writes all figures; returns the names of those that show no real image."""
    histories = [one.history for one in trained]
    figures.losses(histories, recipe.REPORTED, out / "losses.png", f"{recipe.key}, {recipe.variant}")
    floor = {
        "kid": judged[0][0]["kid"]["real_vs_real"],
        "near_copies": judged[0][0]["copies_features"]["real_vs_real"],
    }
    figures.judged(histories, floor, out / "judged.png", f"{recipe.key}, {recipe.variant}: while training")
    made = trained[0].made["finding"]
    generator = np.random.default_rng(recipe.seed)
    real = sets["train"].of(1)
    chosen = real[generator.choice(len(real), min(36, len(real)), replace=False)]
    figures.side_by_side(
        chosen, made, out / "real-and-generated.png", (f"real ({recipe.data})", "generated"),
        f"Images with a finding, {recipe.epochs} epochs, {recipe.variant}",
    )  # fmt: skip
    sheets.grid(made[:36], out / "generated.png")
    for name, near in judged[0][1].items():
        ours, theirs = near.closest(12)
        pairs = np.stack([made[ours], real[theirs]], axis=1).reshape(-1, *made.shape[1:])
        sheets.grid(pairs, out / f"closest-{name}.png", columns=6)
    grids = sorted((out / "run-0" / "samples").glob("epoch-*.png"))
    sheets.animation(grids, out / "samples.gif")
    figures.over_time(grids, out / "over-time.png", f"The same noise over epochs, {recipe.variant}")
    return ["losses.png", "judged.png", "generated.png", "over-time.png"]


def _text(recipe, config, run, metrics):
    scores = run["metrics"]
    rows = []
    for name, words in _WORDS.items():
        one = scores[name]
        rows.append(
            [
                words,
                f"{one['value']:.4f}",
                f"{one['low']:.4f} to {one['high']:.4f}",
                f"{one['real_vs_real']:.4f}",
            ]
        )
    losses = [
        [
            _NAMES[name], f"{one['first']:.3f}", f"{one['last']:.3f}", f"{one['lowest']:.3f} to {one['highest']:.3f}",
            "; ".join(_said(*said) for said in recipe.REPORTED[name]),
        ]
        for name, one in run["losses"].items()
    ]  # fmt: skip
    lines = [
        f"# {recipe.title}\n",
        f"Re-run on `{recipe.data}`, {recipe.policy} split, profile `{config['profile']}`, variant "
        f"`{recipe.variant}`: {recipe.epochs} epochs of {run['steps'] // recipe.epochs} steps (the paper: 900), "
        f"{run['minutes']['value']:.0f} minutes a GAN, {recipe.seeds} seed(s).\n",
        report_results.overlap(metrics["splits"][recipe.policy]),
        "## Losses\n",
        tables.markdown(
            ["", "ours, first epoch", "ours, last epoch", "ours, range of epochs", "reported, by epoch"],
            losses,
        ),
        "![losses](losses.png)\n",
        "## How near to real images\n",
        f"Features: `{recipe.extractor}`. The floor is the same measure between two halves of the real training "
        f"images that share no X-ray, {scores['kid']['images']:.0f} images a side. A GAN that repeats images "
        "of both halves can lie below the floor: look at the near copies too. Their floor is the share of "
        "real images that lie as near to a training image of another X-ray, about 1 % by the threshold's making.\n",
        tables.markdown(["measure", "generated", "lowest and highest seed", "real against real"], rows),
        "![while training](judged.png)\n",
        "![over time](over-time.png)\n",
        "![real and generated](real-and-generated.png)\n",
        "Generated images (left of each pair) beside the training image nearest to them: "
        "![by pixels](closest-pixels.png) ![by features](closest-features.png)\n",
        "## Is it any use to a classifier?\n",
        "Equally many images of each class, the same small CNN (compact_cnn, 3 seeds), the first GAN's images. "
        + (
            ""
            if recipe.condition == "label"
            else "The GAN draws findings only: healthy images are real ones. "
        )
        + "Real test images are those of the split above, with its leaks.\n",
        tables.markdown(
            ["", "accuracy %", "AUC"],
            [
                [
                    words,
                    tables.percent(run["utility"][arm]["accuracy"]),
                    tables.decimal(run["utility"][arm]["auc"]),
                ]
                for arm, words in _USE.items()
            ],
        ),
        "## How this was made\n",
        f"- Command: `{config['command']}`, {config['date']}, first seed {recipe.seed}.",
        f"- Width {recipe.width}, {recipe.channels} channel(s), batch {recipe.batch_size}, Adam "
        f"{recipe.g_learning_rate:g} "
        f"(generator) and {recipe.d_learning_rate:g} (discriminator), loss {recipe.loss}, augmentation "
        f"{'DiffAugment' if recipe.augment else 'none'}, weight average {recipe.ema or 'none'}, classes "
        f"{recipe.condition or 'none'}.",
        "- `run-K/generator.keras`, `run-K/saved_model`, `samples.gif`; more images: `keras-fracture generate`.",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in config['versions'].items())}.\n",
        "Not for clinical use.",
    ]
    return "\n".join(lines) + "\n"


def _said(epoch, value):
    epochs, values = (
        "-".join(f"{end:g}" for end in dict.fromkeys(given)) if isinstance(given, tuple) else f"{given:g}"
        for given in (epoch, value)
    )
    return f"{values} ({epochs})"
