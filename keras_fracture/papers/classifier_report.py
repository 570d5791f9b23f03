"""The report of the classifier papers: tables beside the paper's, training curves, failures, heat maps."""

import dataclasses
import functools

import numpy as np
import pandas as pd

from keras_fracture import evaluation, files
from keras_fracture.data import decoding, tables
from keras_fracture.data.pipeline import grey_to
from keras_fracture.evaluation import scorer
from keras_fracture.evaluation.baselines import compare as compare_with
from keras_fracture.experiment.runs import read_config, write_metrics
from keras_fracture.experiment.splits import counts, how_told, load_records
from keras_fracture.models.preprocessing import scale
from keras_fracture.papers.classifier import as_trained
from keras_fracture.papers.classifier_table import WITHIN, table
from keras_fracture.progress import Bar
from keras_fracture.report import baselines, captions, figures, groups, scored
from keras_fracture.report.markdown import Figures, counted, decimal, markdown, metric_in_words, overlap

_CLASSES = ("healthy", "finding")
_PLOTS = ("roc", "precision-recall")  # that are recorded beside the numbers


def write(config, results, run, preprocess):
    """Writes figures, `metrics.json` and `report.md`.

    Args:
        config: A `ClassifierConfig`.
        results: Split policy to `papers.classifier.PolicyResult`.
        run: An `experiment.runs.Run`.
        preprocess: The `data.Preprocess` that the figure of the preprocessing shows.

    Returns:
        What `metrics.json` holds.
    """
    recorded, config = read_config(run.folder), _as_trained(config, results)
    jobs = [(policy, name) for policy in results for name in config.models]
    rows, explained = [], {}
    for policy, name in Bar(jobs, "scores and figures", unit=" models"):
        folder, result = run.folder / policy / name, results[policy]
        said = scorer.text(result.predictions(name), result.sets["test"].table["filename"])
        files.write_text(folder / "predictions.csv", said)
        scores = _scores(result, functools.partial(result.predictions, name))
        scores["train_accuracy"] = _train_accuracy(config, result.trained[name].histories)
        images = f"{config.data_title}, {policy} split, test images"
        compared = compare_with(result.predictions(name), result.baselines)
        levels = _levels(config, name, compared)
        told = scored.plots(folder, name, images, result.predictions(name), scores, _chosen(config), levels)
        explained[policy, name] = _explain(result, name, folder, told)
        row = _row(config, recorded, policy, name, result.trained[name], scores) | {"baselines": compared}
        row["body_parts"] = groups.body_parts(explained[policy, name]["groups"])
        if explained[policy, name]["pointing"]:
            row["pointing"] = explained[policy, name]["pointing"]
        if (config.seeds > 1 or config.flips) and not config.ensemble:
            alone = _scores(result, functools.partial(result.exported, name))
            alone["train_accuracy"] = _train_accuracy(config, result.trained[name].histories[:1])
            row["saved_model_metrics"] = alone
        if len(result.predictions(name).probabilities) > 1:
            row["by_seed"] = evaluation.by_seed(result.predictions(name), scored.EACH.values())
        rows.append(row)
    splits = {policy: counts(result.sets) for policy, result in results.items()}
    files.write_text(run.folder / "history.csv", _history(results).to_csv(index=False))
    curves = _curves(config, results, run.folder)
    _preprocessing(config, preprocess, next(iter(results)), run)
    warnings = [
        sentence
        for policy, name in jobs
        for sentence in captions.warnings(policy, name, results[policy].trained[name], config.patience)
    ]
    text = _text(config, recorded, rows, splits, explained, curves, warnings)
    files.write_text(run.folder / "report.md", text)
    pointing = {f"{policy}/{name}": one["pointing"] for (policy, name), one in explained.items()}
    return write_metrics(
        run.folder, config, rows, splits=splits, pointing_game=pointing,
        figures=[
            f"{row['split_policy']}/{row['model']}/{plot}.png"
            for row in rows
            for plot in (*_PLOTS, *(["seeds"] if "by_seed" in row else []))
        ],
    )  # fmt: skip


def _as_trained(config, results):
    """The configuration as it was carried out, see `classifier.as_trained`."""
    learnt = any(as_trained(config, result.sets).body_parts for result in results.values())
    return dataclasses.replace(config, body_parts=learnt)


def _row(config, recorded, policy, name, trained, scores):
    return {
        "variant": config.variant,
        "model": name,
        "data": config.data_title,
        "split_policy": policy,
        "profile": recorded["profile"],
        "seeds": config.seeds,
        "epochs": config.epochs,
        "image_size": config.image_size,
        "threshold": trained.exported_threshold,
        "thresholds": list(trained.thresholds),
        "saved_model": f"{policy}/{name}/{_exported(config)}/saved_model",
        "metrics": scores,
        "reported": config.REPORTED[name],
    }


def _levels(config, name, compared):
    """What each seed is held against, by metric: the strongest baseline and, on the paper's data, what is reported."""
    trees = compared["strongest"]["name"]
    levels = {}
    for metric in scored.EACH.values():
        levels[metric] = {f"boosted trees ({trees})": compared["scores"][trees][metric]["value"]}
        if config.data == type(config).data:
            reported = config.REPORTED[name].get(metric)
            levels[metric] |= {} if reported is None else {"the paper": reported}
            levels[metric] |= config.PRINTED.get(name, {}).get(metric, {})
    return levels


def _exported(config):
    """The folder with the SavedModel, below the architecture's."""
    return "ensemble" if config.ensemble else "run-0"


def _tested(config):
    """What the numbers are of, and what their intervals cover, in words."""
    if not config.ensemble:
        return f"95 % intervals in brackets: {captions.resampled(config.seeds)}.\n"
    views = ", for each image and its mirror image" if config.flips else ""
    return (
        f"95 % intervals in brackets: {captions.resampled(1, 'ensemble')}.\n"
        f"The ensemble averages the probabilities of {counted(config.seeds, 'seed')}{views}.\n"
    )


def _scores(result, predictions):
    """Test metrics with intervals, and what the paper's table takes from validation; by `predictions` of a split."""
    test, checked = predictions("test"), predictions("validation")
    scores = evaluation.scores(test, evaluation.METRICS)
    checked = evaluation.scores(checked, ("accuracy", "f1", "auc"))
    scores |= {f"validation_{metric}": score for metric, score in checked.items()}
    inside = evaluation.within(test, result.sets["test"].table["body_part"])
    return scores | ({WITHIN: inside} if inside else {})


def _train_accuracy(config, histories):
    """At 0.5, of the epoch whose weights are tested, on average, with the lowest and the highest seed."""
    rows = [
        -1 if config.patience is None else int(np.nanargmin(history["val_loss"])) for history in histories
    ]
    found = [float(history["accuracy"].iloc[row]) for history, row in zip(histories, rows, strict=True)]
    return {"value": float(np.mean(found)), "low": min(found), "high": max(found)}


def _chosen(config):
    """How the threshold came about."""
    return (
        "fixed beforehand"
        if config.threshold is not None
        else "chosen on validation for the highest balanced accuracy"
    )


def _explain(result, name, folder, told):
    """Writes groups and where one model looks; returns both, and captions by file name after those `told`."""
    test, trained = result.sets["test"], result.trained[name]
    predictions = result.predictions(name)
    by_group = evaluation.by_group(predictions, test.table)
    files.write_text(folder / "groups.csv", tables.csv_text(by_group))
    wrong = _one_of_each(evaluation.most_confident_errors(predictions, len(test.labels)), test)
    mean = predictions.probabilities.mean(axis=0)
    if len(wrong):
        words = [
            f"{_CLASSES[test.labels[row]]}, {test.table['body_part'].iloc[row]}: {mean[row]:.2f}"
            for row in wrong
        ]
        _overlay(trained.model, test, wrong, words, folder / "failures.png")
        told = told | {"failures.png": captions.failures(test.labels[wrong])}
    pointing = _pointing_game(trained.model, test, mean, folder)
    if pointing:
        told = told | {"heat.png": captions.heat(pointing, len(predictions.probabilities) > 1)}
    return {"groups": by_group, "pointing": pointing, "captions": told}


def _pointing_game(model, test, probabilities, folder):
    """How often the heat's maximum lies on a box, with a figure of some; None where there are no boxes."""
    boxed = np.flatnonzero([len(boxes) > 0 for boxes in test.table["boxes"]])
    boxed = boxed[test.labels[boxed] == 1]
    if not len(boxed):
        return None
    heats = _heats(model, test.images[boxed])
    boxes = test.take(boxed).boxes
    hits = evaluation.pointing_game(heats, boxes)
    rows = _one_of_each(boxed, test)
    _overlay(
        model, test, rows, [f"probability {probabilities[row]:.2f}" for row in rows], folder / "heat.png"
    )
    return {
        "value": float(hits.mean()),
        "chance": float(evaluation.chance(boxes, heats.shape[1:])),
        "images": len(hits),
    }


def _one_of_each(rows, split):
    """The first of these rows of each X-ray or patient, 15 at most: copies of one would fill the figure."""
    _, firsts = np.unique(split.sources[rows], return_index=True)
    return rows[np.sort(firsts)][:15]


def _heats(model, images):
    """Grad-CAM, some images at a time."""
    parts = []
    for start in range(0, len(images), 16):
        batch = grey_to(scale(images[start : start + 16], model.pixel_range), model.channels)
        parts.append(evaluation.gradcam(model, batch))
    return np.concatenate(parts)


def _overlay(model, split, rows, captions, path):
    chosen = split.take(rows)
    figures.overlays(chosen.images, _heats(model, chosen.images), path, chosen.boxes, captions)


def _history(results):
    """Every epoch of every training, one row each."""
    frames = []
    for policy, result in results.items():
        for name, trained in result.trained.items():
            for number, frame in enumerate(trained.histories):
                marks = {"split_policy": policy, "model": name, "run": number}
                frames.append(frame.assign(**marks)[[*marks, *frame.columns]])
    return pd.concat(frames)


def _curves(config, results, folder):
    """Draws accuracy and loss over epochs; returns their captions by file name."""
    histories = {
        (policy, name): {
            # Seeds that were stopped early are no part of the later epochs' means.
            column: pd.concat([history[column] for history in trained.histories], axis=1)
            .mean(axis=1)
            .to_numpy()
            for column in ("accuracy", "val_accuracy", "loss", "val_loss")
        }
        for policy, result in results.items()
        for name, trained in result.trained.items()
    }
    for column, label in (("accuracy", "accuracy"), ("loss", _loss(config))):
        panels = {}
        for (policy, name), means in histories.items():
            sides = {f"{name}, training": means[column], f"{name}, validation": means[f"val_{column}"]}
            panels.setdefault(f"{policy} split", {}).update(sides)
        title = f"{config.key} on {config.data_title}: {label} while training"
        figures.curves(panels, folder / f"{column}.png", label, title)
    named = {f"{name}, {policy} split": means for (policy, name), means in histories.items()}
    ends = {name: (means["accuracy"][-1], means["val_accuracy"][-1]) for name, means in named.items()}
    lowest = {
        name: (int(np.argmin(means["val_loss"])) + 1, len(means["val_loss"])) for name, means in named.items()
    }
    return {
        "accuracy.png": captions.accuracy(ends),
        "loss.png": captions.loss(lowest, _added_to_loss(config)),
    }


def _loss(config):
    """What the loss is measured in, in words."""
    return f"loss (nats{''.join(f', with {part}' for part in _added_to_loss(config))})"


def _added_to_loss(config):
    """What the loss holds beside that of the findings, in words."""
    parts = {
        "weight decay": config.l2,
        "that of body parts": config.body_parts,
        "that of boxes": config.box_weight,
        "what the teacher adds": config.teacher,
    }
    return [part for part, there in parts.items() if there]


def _preprocessing(config, preprocess, policy, run):
    """The paper's before-and-after figures, on images of the training split."""
    records = load_records(config, policy, run.data_dir)["train"]
    before, equalised, after = [], [], []
    for record in records.raw(["image"]).take(4).as_numpy_iterator():
        image = decoding.decode(record["image"]).image
        before.append(image)
        equalised.append(decoding.clahe(image, *preprocess.clahe) if preprocess.clahe else None)
        after.append(preprocess(preprocess.decode(record["image"]))[..., 0])
    columns = {"as published": before, "CLAHE": equalised, f"fitted and padded to {config.image_size}": after}
    columns = {name: images for name, images in columns.items() if images[0] is not None}
    figures.columns_of(
        columns, run.folder / "preprocessing.png", f"{config.key}: preprocessing, step by step"
    )


def _text(config, recorded, rows, splits, explained, curves, warnings):
    numbered = Figures()
    lines = [
        f"# {config.title}\n",
        f"`{config.key}`, re-run on `{config.data_title}`, profile `{recorded['profile']}`, "
        f"variant `{config.variant}`.\n",
        *how_told(config),
        *([f"{config.COMPARED}\n"] if config.COMPARED and any(row["reported"] for row in rows) else []),
        *(
            f"**{row['split_policy']} split, {row['model']}: {baselines.verdict(row['baselines'])}**\n"
            for row in rows
        ),
        *(f"{sentence}\n" for sentence in warnings),
        _tested(config),
    ]
    for policy, split_counts in splits.items():
        own = [row for row in rows if row["split_policy"] == policy]
        lines += [
            f"## {policy} split\n",
            overlap(split_counts, policy),
            table([recorded | row for row in own]),
            _all_metrics(own),
            f"What needs no network. {baselines.HOW}\n",
            baselines.table(own[0]["baselines"]["scores"]),
        ]
        for row in own:
            lines += _one_model(policy, row["model"], explained[policy, row["model"]], numbered)
    return "\n".join([*lines, *_how_it_was_made(config, recorded, curves, numbered)]) + "\n"


def _how_it_was_made(config, recorded, curves, numbered):
    settings = ", ".join(
        f"{name} {value}"
        for name, value in dataclasses.asdict(config).items()
        if name not in ("models", "policies")
    )
    seeds = counted(config.seeds, "seed")
    return [
        "## Training\n",
        *(
            numbered.add(f"{column}.png", f"{words} over epochs, mean of {seeds}. {curves[f'{column}.png']}")
            for column, words in (("accuracy", "Accuracy"), ("loss", _loss(config).capitalize()))
        ),
        numbered.add(
            "preprocessing.png",
            "Training images on their way into the network, step by step. What cannot be seen in the last column, the "
            "network cannot see either.",
        ),
        "## How this was made\n",
        f"- Command: `{recorded['command']}`, {recorded['date']}.",
        f"- Settings: {settings}.",
        f"- The weights of the {'last epoch' if config.patience is None else 'epoch best on validation'} are tested; "
        f"the threshold{'' if config.ensemble else ' of each seed'} is {_chosen(config)}.",
        f"- SavedModels: `POLICY/MODEL/{_exported(config)}/saved_model`; predictions of test images, for "
        "`keras-fracture score`: `POLICY/MODEL/predictions.csv`.",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in recorded['versions'].items())}.\n",
        "Not for clinical use.",
    ]


def _all_metrics(runs):
    rows = [
        [metric_in_words(metric, evaluation.METRICS), *(decimal(run["metrics"][metric]) for run in runs)]
        for metric in evaluation.METRICS
    ]
    return markdown(["test", *(run["model"] for run in runs)], rows)


def _one_model(policy, name, explained, numbered):
    """The figures and the groups of one model."""
    folder, title = f"{policy}/{name}", f"{name}, {policy} split"
    return [
        f"### {title}\n",
        *(
            numbered.add(f"{folder}/{figure}", f"{title}: {words}")
            for figure, words in explained["captions"].items()
        ),
        groups.table(explained["groups"]),
    ]
