"""The report of `ibrahim_gan`: does it help to train on synthetic X-rays?"""

import dataclasses
import json

import numpy as np
import pandas as pd
from tqdm import tqdm

from keras_fracture import files
from keras_fracture.report import figures, tables
from keras_fracture.report import results as report_results

_CLASSES = ("healthy", "finding")
_LABELS = {
    "original": "original",
    "classic": "original +\nclassic augm.",
    "synthetic": "original +\nsynthetic",
    "warm_start": "warm start on\nsynthetic",
}


def write(recipe, results, out):
    """Writes figures, `metrics.json` and `report.md`.

    Args:
        recipe: The recipe, with its settings and `REPORTED`.
        results: Split policy to what came out (`papers.ibrahim_gan.Comparison`).
        out: Run folder.

    Returns:
        What `metrics.json` holds.
    """
    scores = {policy: {} for policy in results}
    for policy, arm in tqdm(
        [(policy, arm) for policy in results for arm in _LABELS], "intervals", unit=" arms"
    ):
        scores[policy][arm] = results[policy].scores(arm)
    profile = json.loads((out / "config.json").read_text(encoding="utf-8"))["profile"]
    runs = [
        {
            "variant": arm,
            "model": "compact_cnn",
            "data": recipe.data,
            "split_policy": policy,
            "profile": profile,
            "seeds": recipe.seeds,
            "saved_model": f"{policy}/classifiers/{arm}/saved_model",
            "metrics": scores[policy][arm],
            "reported": {"accuracy": recipe.REPORTED[arm]},
        }
        for policy in results
        for arm in _LABELS
    ]
    metrics = {
        "runs": runs,
        "settings": dataclasses.asdict(recipe),
        "splits": {policy: report_results.counts(result.sets) for policy, result in results.items()},
        "gan": {policy: _losses(result.gans) for policy, result in results.items()},
    }
    files.write_text(out / "history.csv", _history(results).to_csv(index=False))
    _figures(recipe, results, scores, out)
    files.write_text(out / "report.md", _text(recipe, profile, results, scores, metrics, out))
    # Last, because a run folder with metrics.json is a finished run.
    files.write_text(out / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    return metrics


def _history(results):
    """Every epoch of every classifier, one row each."""
    frames = []
    for policy, result in results.items():
        for arm, runs in result.outcomes.items():
            for run, outcome in enumerate(runs):
                columns = {name: values for name, values in outcome.items() if name != "probabilities"}
                frame = pd.DataFrame(columns)
                frame.insert(0, "epoch", np.arange(1, len(frame) + 1))
                for name, value in (("run", run), ("arm", arm), ("split_policy", policy)):
                    frame.insert(0, name, value)
                frames.append(frame)
    return pd.concat(frames)


def _losses(gans):
    return [
        {name: {loss: float(gan["history"][loss].iloc[-1]) for loss in ("d_loss", "g_loss")}
         for name, gan in zip(_CLASSES, pair, strict=True)}
        for pair in gans
    ]  # fmt: skip


def _figures(recipe, results, scores, out):
    seeds = tables.counted(recipe.seeds, "seed")
    generator = np.random.default_rng(recipe.seed)
    for policy, result in results.items():
        for label, name in enumerate(_CLASSES):
            real = result.sets["train"].of(label)
            chosen = real[generator.choice(len(real), min(36, len(real)), replace=False)]
            figures.side_by_side(
                chosen, result.gans[0][label]["images"], out / f"grid-{policy}-{name}.png",
                (f"real ({recipe.data}, training split)", "synthetic (generator's output)"),
                f"{name}: real beside synthetic X-rays, {policy} split",
            )  # fmt: skip
    losses = {
        f"{policy} split": {
            f"{name}, {kind}": result.gans[0][label]["history"][column]
            for label, name in enumerate(_CLASSES)
            for kind, column in (("discriminator", "d_loss"), ("generator", "g_loss"))
        }
        for policy, result in results.items()
    }
    figures.curves(losses, out / "gan-losses.png", "loss (nats)", "GAN losses, mean of each epoch")
    accuracy = {f"{policy} split": _validation(result) for policy, result in results.items()}
    figures.curves(
        accuracy, out / "classifier-accuracy.png", "validation accuracy",
        f"Classifiers while training: mean of {seeds}, shaded from lowest to highest",
    )  # fmt: skip
    for metric, name, reported in (
        ("accuracy", "accuracy", recipe.REPORTED),
        ("auc", "area under ROC", None),
    ):
        figures.intervals(
            {f"ours, {policy} split": [scores[policy][arm][metric] for arm in _LABELS] for policy in results},
            out / f"arms-{metric}.png", list(_LABELS.values()), f"test {name}",
            f"Test {name} on {recipe.data}, {seeds}, 95 % intervals over X-rays and seeds",
            reported and [reported[arm] for arm in _LABELS],
        )  # fmt: skip


def _validation(result):
    lines = {}
    for arm, label in _LABELS.items():
        runs = np.stack([outcome["val_accuracy"] for outcome in result.outcomes[arm]])
        lines[label.replace("\n", " ")] = runs.mean(0), runs.min(0), runs.max(0)
    return lines


def answer(gain):
    """What an interval of a gain in accuracy says, in words."""
    points = f"{tables.percent(gain, signed=True)} points"
    if gain["low"] > 0:
        return f"helped: {points}"
    if gain["high"] < 0:
        return f"did harm: {points}"
    return f"made no difference that this test set can show: {points}"


def _text(recipe, profile, results, scores, metrics, out):
    seeds = tables.counted(recipe.seeds, "seed")
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    policies = list(results)
    first = scores[policies[0]]
    lines = [
        "# Do synthetic X-rays help a classifier?\n",
        f"{recipe.title}, re-run on `{recipe.data}`, profile `{profile}`.\n",
        f"**Answer ({policies[0]} split, accuracy against training on the original images alone):**\n",
        f"- adding synthetic images {answer(first['synthetic']['accuracy_gain'])};",
        f"- a warm start on synthetic images {answer(first['warm_start']['accuracy_gain'])};",
        f"- classic augmentation {answer(first['classic']['accuracy_gain'])}.\n",
        "95 % intervals in brackets: bootstrap that resamples whole X-rays (sources, not files) and seeds. They "
        f"do not cover re-training the GANs ({recipe.gans} a class here). Beside validation accuracies stand the "
        "lowest and the highest seed.\n",
    ]
    for policy in policies:
        counts = metrics["splits"][policy]
        lines += [
            f"## {policy} split\n",
            report_results.overlap(counts),
            tables.markdown(
                ["arm", "accuracy %, paper", "test accuracy %, ours", "test AUC, ours",
                 "gain in test accuracy over original, points", "validation accuracy %, last epoch"],
                [
                    [
                        _LABELS[arm].replace("\n", " "), f"{100 * recipe.REPORTED[arm]:.0f}",
                        tables.percent(found["accuracy"]), tables.decimal(found["auc"]),
                        tables.percent(found["accuracy_gain"], signed=True) if arm != "original" else "",
                        tables.percent(found["validation_accuracy"]),
                    ]
                    for arm, found in scores[policy].items()
                ],
            ),
        ]  # fmt: skip
    lines += [
        "![arms](arms-accuracy.png)\n",
        "![AUC](arms-auc.png)\n",
        "![training](classifier-accuracy.png)\n",
        "## The GANs\n",
        *(f"![{name}](grid-{policy}-{name}.png)\n" for policy in policies for name in _CLASSES),
        "![losses](gan-losses.png)\n",
        "## How this was made\n",
        f"- Command: `{config['command']}`, {config['date']}, first seed {recipe.seed}, {seeds}.",
        f"- GAN: generator {recipe.gan_width:g} and discriminator {recipe.discriminator_width or recipe.gan_width:g} "
        f"times as wide as the poster's, {recipe.gan_channels} channel(s), {recipe.gan_epochs} epochs of "
        f"{recipe.gan_steps or 'all'} steps of {recipe.batch_size} images, Adam "
        f"{recipe.gan_learning_rate:g}, weight average "
        f"{recipe.gan_ema or 'none'} (the poster: width 1, 3 channels, 100 epochs; rate and average not stated).",
        f"- Synthetic images: {recipe.synthetic:,} a class (the poster: 10,500), made from training images only; "
        "none is in a validation or test set.",
        f"- Classifiers: {recipe.epochs} epochs each, the last weights, threshold 0.5; nothing was chosen on the "
        "test set.",
        "- SavedModels: `POLICY/gan/CLASS-0/saved_model`, `POLICY/classifiers/ARM/saved_model`.",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in config['versions'].items())}.\n",
        "Not for clinical use.",
    ]
    return "\n".join(lines) + "\n"
