"""The report of the classifier papers: tables beside the paper's, training curves, failures, heat maps."""

import dataclasses
import json

import numpy as np
import pandas as pd
from tqdm import tqdm

from keras_fracture import evaluation, files
from keras_fracture.data import decoding
from keras_fracture.models.preprocessing import scale
from keras_fracture.report import figures, tables
from keras_fracture.report import results as report_results

_CLASSES = ("healthy", "finding")
_SHOWN = ("accuracy", "f1", "precision", "recall", "auc")  # of the paper's table


def write(recipe, outcomes, out, data_dir=None):
    """Writes figures, `metrics.json` and `report.md`.

    Args:
        recipe: The `papers.classifier_recipe.ClassifierRecipe`.
        outcomes: Split policy to `papers.classifier_recipe.PolicyResult`.
        out: Run folder.
        data_dir: Where real data lie.

    Returns:
        What `metrics.json` holds.
    """
    profile = json.loads((out / "config.json").read_text(encoding="utf-8"))["profile"]
    jobs = [(policy, name) for policy in outcomes for name in recipe.models]
    runs, explained = [], {}
    for policy, name in tqdm(jobs, "scores and figures", unit=" models"):
        folder, outcome = out / policy / name, outcomes[policy]
        explained[policy, name] = _explain(outcome, name, folder)
        scores = _scores(outcome, name)
        figures.roc(
            evaluation.roc(outcome.predictions(name)), tables.decimal(scores["auc"]), folder / "roc.png",
            f"{name} on {recipe.data}: test images, {policy} split",
        )  # fmt: skip
        runs.append(
            {
                "variant": recipe.variant,
                "model": name,
                "data": recipe.data,
                "split_policy": policy,
                "profile": profile,
                "seeds": recipe.seeds,
                "epochs": recipe.epochs,
                "image_size": recipe.image_size,
                "threshold": outcome.trained[name].thresholds[0],  # of the model that is exported
                "thresholds": list(outcome.trained[name].thresholds),
                "saved_model": f"{policy}/{name}/run-0/saved_model",
                "metrics": scores,
                "reported": recipe.REPORTED[name],
            }
        )
    metrics = {
        "runs": runs,
        "settings": dataclasses.asdict(recipe),
        "splits": {policy: report_results.counts(outcome.sets) for policy, outcome in outcomes.items()},
        "pointing_game": {
            f"{policy}/{name}": found["pointing"] for (policy, name), found in explained.items()
        },
        "figures": [f"{policy}/{name}/roc.png" for policy, name in jobs],
    }
    files.write_text(out / "history.csv", _history(outcomes).to_csv(index=False))
    _curves(recipe, outcomes, out)
    _preprocessing(recipe, outcomes, out, data_dir)
    files.write_text(out / "report.md", _text(recipe, profile, metrics, explained, out))
    # Last, because a run folder with metrics.json is a finished run.
    files.write_text(out / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    return metrics


def _scores(outcome, name):
    """Test metrics with intervals, and what the paper's table takes from training and validation."""
    scores = evaluation.scores(outcome.predictions(name), evaluation.METRICS)
    checked = evaluation.scores(outcome.predictions(name, "validation"), ("accuracy", "f1", "auc"))
    scores |= {f"validation_{metric}": score for metric, score in checked.items()}
    last = [float(history["accuracy"].iloc[-1]) for history in outcome.trained[name].histories]
    return scores | {"train_accuracy": {"value": float(np.mean(last)), "low": min(last), "high": max(last)}}


def _explain(outcome, name, folder):
    """Writes the figures of one trained model; returns its groups, worst first, and its pointing game."""
    test, found = outcome.sets["test"], outcome.trained[name]
    predictions = outcome.predictions(name)
    figures.reliability(
        evaluation.calibration(predictions),
        folder / "reliability.png",
        f"{name}: is 80 % right 8 times in 10?",
    )
    figures.confusion(
        evaluation.confusion(predictions), folder / "confusion.png", _CLASSES,
        f"{name}: test images, threshold " + ", ".join(f"{one:.2f}" for one in found.thresholds),
    )  # fmt: skip
    groups = evaluation.by_group(predictions, test.table)
    files.write_text(folder / "groups.csv", groups.to_csv(index=False))

    wrong = evaluation.most_confident_errors(predictions, 15)
    mean = predictions.probabilities.mean(axis=0)
    if len(wrong):
        captions = [
            f"{_CLASSES[test.labels[row]]}, {test.table['body_part'].iloc[row]}: {mean[row]:.2f}"
            for row in wrong
        ]
        _overlay(found.model, test, wrong, captions, folder / "failures.png")
    boxed = np.flatnonzero([len(boxes) > 0 for boxes in test.table["boxes"]])
    boxed = boxed[test.labels[boxed] == 1]
    pointing = None
    if len(boxed):
        heats = _heats(found.model, test.images[boxed])
        boxes = test.take(boxed).boxes
        hits = evaluation.pointing_game(heats, boxes)
        pointing = {
            "value": float(hits.mean()),
            "chance": float(evaluation.chance(boxes, heats.shape[1:])),
            "images": len(hits),
        }
        _, firsts = np.unique(test.sources[boxed], return_index=True)
        shown = boxed[np.sort(firsts)][:15]  # one image an X-ray
        captions = [f"probability {mean[row]:.2f}" for row in shown]
        _overlay(found.model, test, shown, captions, folder / "heat.png")
    return {"groups": groups, "pointing": pointing}


def _heats(model, images):
    """Grad-CAM, some images at a time."""
    from keras_fracture.data.pipeline import grey_to

    parts = []
    for start in range(0, len(images), 16):
        batch = grey_to(scale(images[start : start + 16], model.pixel_range), model.channels)
        parts.append(evaluation.gradcam(model, batch))
    return np.concatenate(parts)


def _overlay(model, split, rows, captions, path):
    shown = split.take(rows)
    figures.overlays(shown.images, _heats(model, shown.images), path, shown.boxes, captions)


def _history(outcomes):
    """Every epoch of every training, one row each."""
    frames = []
    for policy, outcome in outcomes.items():
        for name, found in outcome.trained.items():
            for number, frame in enumerate(found.histories):
                marks = {"split_policy": policy, "model": name, "run": number}
                frames.append(frame.assign(**marks)[[*marks, *frame.columns]])
    return pd.concat(frames)


def _curves(recipe, outcomes, out):
    for column, label in (("accuracy", "accuracy"), ("loss", "loss (nats)")):
        panels = {}
        for policy, outcome in outcomes.items():
            panels[f"{policy} split"] = {
                f"{name}, {side}": np.mean([history[prefix + column] for history in found.histories], axis=0)
                for name, found in outcome.trained.items()
                for side, prefix in (("training", ""), ("validation", "val_"))
            }
        figures.curves(
            panels, out / f"{column}.png", label, f"{recipe.key} on {recipe.data}: {label} while training"
        )


def _preprocessing(recipe, outcomes, out, data_dir):
    """The paper's before-and-after figures, on images of the training split."""
    from keras_fracture import data

    first = next(iter(outcomes))
    records = data.load(recipe.data, "train", first, data_dir=data_dir)
    before, equalised, after = [], [], []
    for record in records.raw(["image"]).take(4).as_numpy_iterator():
        image = decoding.decode(record["image"]).image
        before.append(image)
        equalised.append(decoding.clahe(image, *recipe.preprocess.clahe) if recipe.preprocess.clahe else None)
        after.append(recipe.preprocess(image)[..., 0])
    columns = {"as published": before, "CLAHE": equalised, f"fitted and padded to {recipe.image_size}": after}
    columns = {name: images for name, images in columns.items() if images[0] is not None}
    figures.columns_of(columns, out / "preprocessing.png", f"{recipe.key}: preprocessing, step by step")


def _text(recipe, profile, metrics, explained, out):
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    lines = [
        f"# {recipe.key}\n",
        f"{recipe.title}, re-run on `{recipe.data}`, profile `{profile}`, variant `{recipe.variant}`.\n",
        "95 % intervals in brackets: bootstrap that resamples whole X-rays (sources, not files)"
        + (
            " and seeds.\n" if recipe.seeds > 1 else "; one seed, so that they do not cover training again.\n"
        ),
    ]
    for policy, counts in metrics["splits"].items():
        runs = [run for run in metrics["runs"] if run["split_policy"] == policy]
        lines += [
            f"## {policy} split\n",
            report_results.overlap(counts),
            tables.classifiers([config | run for run in runs]),
            _all_metrics(runs),
        ]
        for run in runs:
            lines += _one_model(policy, run["model"], explained[policy, run["model"]], out)
    settings = ", ".join(
        f"{name} {value}" for name, value in metrics["settings"].items() if name not in ("models", "policies")
    )
    lines += [
        "## Training\n",
        "![accuracy](accuracy.png)\n",
        "![loss](loss.png)\n",
        "![preprocessing](preprocessing.png)\n",
        "## How this was made\n",
        f"- Command: `{config['command']}`, {config['date']}.",
        f"- Settings: {settings}.",
        f"- The weights of the {'last epoch' if recipe.patience is None else 'epoch best on validation'} are tested"
        + (
            "; the threshold of each seed gives its highest balanced accuracy on validation."
            if recipe.threshold is None
            else f"; the threshold is {recipe.threshold}."
        ),
        "- SavedModels: `POLICY/MODEL/run-0/saved_model`.",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in config['versions'].items())}.\n",
        "Not for clinical use.",
    ]
    return "\n".join(lines) + "\n"


def _all_metrics(runs):
    rows = [
        [metric.replace("_", " "), *(tables.decimal(run["metrics"][metric]) for run in runs)]
        for metric in evaluation.METRICS
    ]
    return tables.markdown(["test", *(run["model"] for run in runs)], rows)


def _one_model(policy, name, found, out):
    """The figures and the weakest groups of one model."""
    worst = found["groups"].head(8)
    rows = [
        [row.column, row.value, row.images, row.findings, f"{100 * row.accuracy:.1f}",
         "" if np.isnan(row.auc) else f"{row.auc:.3f}"]
        for row in worst.itertuples()
    ]  # fmt: skip
    folder = f"{policy}/{name}"
    lines = [f"### {name}, {policy} split\n"]
    if found["pointing"]:
        pointing = found["pointing"]
        lines.append(
            f"Pointing game: the heat's maximum lies on an annotated box in {100 * pointing['value']:.0f} % of "
            f"{pointing['images']} test images with boxes; a random pixel would in "
            f"{100 * pointing['chance']:.0f} %.\n"
        )
    lines += [
        "Weakest groups:\n",
        tables.markdown(["field", "value", "images", "findings", "accuracy %", "AUC"], rows),
    ]
    figures_ = ("roc", "confusion", "reliability", "failures", "heat")
    lines += [
        f"![{figure}]({folder}/{figure}.png)\n"
        for figure in figures_
        if (out / folder / f"{figure}.png").exists()
    ]
    return lines
