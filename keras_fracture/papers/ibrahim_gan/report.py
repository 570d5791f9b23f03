"""Does it help to train on synthetic X-rays? The poster's four arms beside ours."""

import numpy as np
import pandas as pd
from tqdm import tqdm

from keras_fracture import files
from keras_fracture.experiment.runs import read_config, write_metrics
from keras_fracture.experiment.splits import counts
from keras_fracture.report import figures
from keras_fracture.report.markdown import counted, dated, decimal, markdown, overlap, percent

# What the table of all papers shows: what is measured, its metric, and which runs measured it.
HEADLINES = (
    ("original images: accuracy", "accuracy", {"variant": "original", "split_policy": "grouped"}),
    ("and synthetic ones: accuracy", "accuracy", {"variant": "synthetic", "split_policy": "grouped"}),
)

_CLASSES = ("healthy", "finding")
_LABELS = {
    "original": "original",
    "classic": "original +\nclassic augm.",
    "synthetic": "original +\nsynthetic",
    "warm_start": "warm start on\nsynthetic",
}


def write(config, results, run):
    """Writes figures, `metrics.json` and `report.md`.

    Args:
        config: The `Config`.
        results: Split policy to `experiment.Comparison`.
        run: An `experiment.runs.Run`.

    Returns:
        What `metrics.json` holds.
    """
    recorded = read_config(run.folder)
    scores = {policy: {} for policy in results}
    for policy, arm in tqdm(
        [(policy, arm) for policy in results for arm in _LABELS], "intervals", unit=" arms"
    ):
        scores[policy][arm] = results[policy].scores(arm)
    rows = [
        {
            "variant": arm,
            "model": "compact_cnn",
            "data": config.data,
            "split_policy": policy,
            "profile": recorded["profile"],
            "seeds": config.seeds,
            "saved_model": f"{policy}/classifiers/{arm}/saved_model",
            "metrics": scores[policy][arm],
            "reported": {"accuracy": config.REPORTED[arm]},
        }
        for policy in results
        for arm in _LABELS
    ]
    splits = {policy: counts(result.sets) for policy, result in results.items()}
    gans = {policy: _losses(result.gans) for policy, result in results.items()}
    files.write_text(run.folder / "history.csv", _history(results).to_csv(index=False))
    _figures(config, results, scores, run.folder)
    files.write_text(run.folder / "report.md", _text(config, recorded, scores, splits))
    return write_metrics(run.folder, config, rows, splits=splits, gan=gans)


def table(runs):
    """README's table: one row a run."""
    header = ["data", "split", "arm", "paper: accuracy %", "ours: test accuracy %", "test AUC",
              "gain in accuracy, points", "validation accuracy %", "profile, seeds", "date"]  # fmt: skip
    rows = []
    for run in runs:
        scores = run["metrics"]
        gain = scores.get("accuracy_gain")
        rows.append([
            run["data"], run["split_policy"], run["variant"], f"{100 * run['reported']['accuracy']:.0f}",
            percent(scores["accuracy"]), decimal(scores["auc"]), percent(gain, signed=True) if gain else "",
            percent(scores["validation_accuracy"]),
            f"{run['profile']}, {run['seeds']}", dated(run),
        ])  # fmt: skip
    return markdown(header, rows)


def compare(run):
    """One run beside the paper: what the table is about, and name of a number to (the paper's, ours)."""
    arm, scores = run["variant"], run["metrics"]
    return run["model"], {
        f"{arm}: accuracy": (f"{run['reported']['accuracy']:g}", decimal(scores["accuracy"])),
        f"{arm}: AUC": ("", decimal(scores["auc"])),
        f"{arm}: validation accuracy": ("", decimal(scores["validation_accuracy"])),
    }


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


def _figures(config, results, scores, folder):
    seeds = counted(config.seeds, "seed")
    _image_grids(config, results, folder)
    losses = {
        f"{policy} split": {
            f"{name}, {kind}": result.gans[0][label]["history"][column]
            for label, name in enumerate(_CLASSES)
            for kind, column in (("discriminator", "d_loss"), ("generator", "g_loss"))
        }
        for policy, result in results.items()
    }
    figures.curves(losses, folder / "gan-losses.png", "loss (nats)", "GAN losses, mean of each epoch")
    accuracy = {f"{policy} split": _validation(result) for policy, result in results.items()}
    figures.curves(
        accuracy, folder / "classifier-accuracy.png", "validation accuracy",
        f"Classifiers while training: mean of {seeds}, shaded from lowest to highest",
    )  # fmt: skip
    for metric, name, reported in (
        ("accuracy", "accuracy", config.REPORTED),
        ("auc", "area under ROC", None),
    ):
        figures.intervals(
            {f"ours, {policy} split": [scores[policy][arm][metric] for arm in _LABELS] for policy in results},
            folder / f"arms-{metric}.png", list(_LABELS.values()), f"test {name}",
            f"Test {name} on {config.data}, {seeds}, 95 % intervals over X-rays and seeds",
            reported and [reported[arm] for arm in _LABELS],
        )  # fmt: skip


def _image_grids(config, results, folder):
    generator = np.random.default_rng(config.seed)
    for policy, result in results.items():
        for label, name in enumerate(_CLASSES):
            real = result.sets["train"].of(label)
            chosen = real[generator.choice(len(real), min(36, len(real)), replace=False)]
            figures.side_by_side(
                chosen, result.gans[0][label]["images"], folder / f"grid-{policy}-{name}.png",
                (f"real ({config.data}, training split)", "synthetic (generator's output)"),
                f"{name}: real beside synthetic X-rays, {policy} split",
            )  # fmt: skip


def _validation(result):
    lines = {}
    for arm, label in _LABELS.items():
        runs = np.stack([outcome["val_accuracy"] for outcome in result.outcomes[arm]])
        lines[label.replace("\n", " ")] = runs.mean(0), runs.min(0), runs.max(0)
    return lines


def verdict(gain):
    """What an interval of a gain in accuracy says, in words."""
    points = f"{percent(gain, signed=True)} points"
    if gain["low"] > 0:
        return f"helped: {points}"
    if gain["high"] < 0:
        return f"did harm: {points}"
    return f"made no difference that this test set can show: {points}"


def _text(config, recorded, scores, splits):
    seeds = counted(config.seeds, "seed")
    policies = list(scores)
    first = scores[policies[0]]
    lines = [
        "# Do synthetic X-rays help a classifier?\n",
        f"{config.title}, re-run on `{config.data}`, profile `{recorded['profile']}`.\n",
        f"**Answer ({policies[0]} split, accuracy against training on the original images alone):**\n",
        f"- adding synthetic images {verdict(first['synthetic']['accuracy_gain'])};",
        f"- a warm start on synthetic images {verdict(first['warm_start']['accuracy_gain'])};",
        f"- classic augmentation {verdict(first['classic']['accuracy_gain'])}.\n",
        "95 % intervals in brackets: bootstrap that resamples whole X-rays (sources, not files) and seeds. They "
        f"do not cover re-training the GANs ({config.gans_per_class} a class here). Beside validation accuracies stand "
        "the lowest and the highest seed.\n",
    ]
    for policy in policies:
        lines += [f"## {policy} split\n", overlap(splits[policy]), _arms_table(config, scores[policy])]
    lines += [
        "![arms](arms-accuracy.png)\n",
        "![AUC](arms-auc.png)\n",
        "![training](classifier-accuracy.png)\n",
        "## The GANs\n",
        *(f"![{name}](grid-{policy}-{name}.png)\n" for policy in policies for name in _CLASSES),
        "![losses](gan-losses.png)\n",
        "## How this was made\n",
        f"- Command: `{recorded['command']}`, {recorded['date']}, first seed {config.seed}, {seeds}.",
        f"- GAN: generator {config.gan_width:g} and discriminator {config.discriminator_width or config.gan_width:g} "
        f"times as wide as the poster's, {config.gan_channels} channel(s), {config.gan_epochs} epochs of "
        f"{config.gan_steps or 'all'} steps of {config.batch_size} images, Adam "
        f"{config.gan_learning_rate:g}, weight average "
        f"{config.gan_ema or 'none'} (the poster: width 1, 3 channels, 100 epochs; rate and average not stated).",
        f"- Synthetic images: {config.synthetic_per_class:,} a class (the poster: 10,500), made from training images "
        "only; none is in a validation or test set.",
        f"- Classifiers: {config.epochs} epochs each, the last weights, threshold 0.5; nothing was chosen on the "
        "test set.",
        "- SavedModels: `POLICY/gan/CLASS-0/saved_model`, `POLICY/classifiers/ARM/saved_model`.",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in recorded['versions'].items())}.\n",
        "Not for clinical use.",
    ]
    return "\n".join(lines) + "\n"


def _arms_table(config, scores):
    header = ["arm", "accuracy %, paper", "test accuracy %, ours", "test AUC, ours",
              "gain in test accuracy over original, points", "validation accuracy %, last epoch"]  # fmt: skip
    rows = [
        [
            _LABELS[arm].replace("\n", " "), f"{100 * config.REPORTED[arm]:.0f}",
            percent(score["accuracy"]), decimal(score["auc"]),
            percent(score["accuracy_gain"], signed=True) if arm != "original" else "",
            percent(score["validation_accuracy"]),
        ]
        for arm, score in scores.items()
    ]  # fmt: skip
    return markdown(header, rows)
