"""The report of `gupta_unit`: do lesions painted by UNIT make better classifiers?"""

import dataclasses
import json

import numpy as np
import pandas as pd
from tqdm import tqdm

from keras_fracture import files, synthesis
from keras_fracture.data import splits
from keras_fracture.report import figures, tables
from keras_fracture.report import results as report_results

_LOSSES = ("gan", "reconstruction", "cycle")


def write(recipe, studies, out):
    """Writes figures, `metrics.json` and `report.md`.

    Args:
        recipe: The recipe, with its settings and `REPORTED`.
        studies: A list of `papers.lesion_study.Study`.
        out: Run folder.

    Returns:
        What `metrics.json` holds.
    """
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    jobs = [(study, arm) for study in studies for arm in tables.LESION_ARMS if arm in study.arms]
    runs = [
        _run(recipe, config, study, arm, study.scores(arm))
        for study, arm in tqdm(jobs, "intervals", unit=" arms", delay=5)
    ]
    shown = _figures(recipe, studies, runs, out)
    metrics = {
        "runs": runs,
        "settings": dataclasses.asdict(recipe),
        "splits": {study.part.name: _counts(study.part) for study in studies},
        "checks": {study.part.name: study.checks for study in studies if study.own},
        "figures": shown,
    }
    histories = [study.own.history.assign(part=study.part.name) for study in studies if study.own]
    files.write_text(out / "history.csv", pd.concat(histories).to_csv(index=False))
    files.write_text(out / "report.md", _text(recipe, config, studies, metrics))
    # Last, because a run folder with metrics.json is a finished run.
    files.write_text(out / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    return metrics


def _run(recipe, config, study, arm, scores):
    found, reported = study.arms[arm], recipe.REPORTED[study.part.bone].get(arm)
    return {
        "variant": arm,
        "model": recipe.network,
        "data": recipe.data,
        "part": study.part.name,
        "stands_for": study.part.bone,
        "split_policy": "grouped",
        "profile": config["profile"],
        "seeds": recipe.seeds,
        "epochs": recipe.epochs,
        "image_size": recipe.image_size,
        "unit_steps": recipe.unit_epochs * recipe.unit_steps,
        "lesions": found.lesions,
        "added": found.added,
        "threshold": found.threshold,
        "tried": {f"{limit:g}": auc for limit, auc in found.tried.items()},
        "metrics": scores,
        "reported": dict(zip(("auc", "low", "high", "threshold", "added"), reported, strict=True))
        if reported
        else None,
        "checks": study.checks,
    }


def _counts(part):
    sets = {"train": part.train, "validation": part.validation, "test": part.test}
    return report_results.counts(sets) | {"pool": len(part.pool.labels)}


def _figures(recipe, studies, runs, out):
    """Writes all figures; returns what `kept_figures` does."""
    seeds = tables.counted(recipe.seeds, "seed")
    by_part = {study.part.name: [run for run in runs if run["part"] == study.part.name] for study in studies}
    for study in studies:
        mine = {run["variant"]: run for run in by_part[study.part.name]}
        reported = recipe.REPORTED[study.part.bone]
        figures.intervals(
            {"ours": [mine[arm]["metrics"]["auc"] for arm in mine]},
            out / f"auc-{study.part.folder}.png", [tables.LESION_ARMS[arm].replace(": ", ":\n") for arm in mine],
            "area under ROC", f"{study.part.name} of {recipe.data}: test AUC, {seeds}, 95 % intervals",
            [reported[arm][0] if arm in reported else np.nan for arm in mine],
            f"reported for the {study.part.bone}", slant=True,
        )  # fmt: skip
    own = [study for study in studies if study.own]
    losses = {
        study.part.name: {name: study.own.history[name] for name in study.own.history if name in _LOSSES}
        for study in own
    }
    figures.curves(
        losses, out / "unit-losses.png", "loss, weighted", "UNIT while training: mean of each epoch"
    )
    for study in studies:
        _stages(recipe, study, studies[0], out)
    return kept_figures(recipe.data, [study.part.folder for study in studies])


def kept_figures(data, parts):
    """Names of the figures that show no X-ray of a real person."""
    plots = [*(f"auc-{part}.png" for part in parts), "unit-losses.png"]
    return plots + [f"stages-{part}.png" for part in parts if data == "phantom"]


def _stages(recipe, study, first, out):
    """Figure 2: the four painted images that the filter scores highest."""
    arm = "augmented" if "augmented" in study.painted else "transfer"
    translator = (study.own or first.own).unit
    painted = study.painted[arm]
    rows = np.argsort(-painted["scores"], kind="stable")[:4]
    before = study.part.train.of(0)[painted["rows"][rows]]
    windows = painted["windows"][rows]
    blended, patches = synthesis.paint(
        before, windows, translator.translate, recipe.exponent, recipe.patch_size
    )
    figures.stages(
        before, windows, patches, blended, out / f"stages-{study.part.folder}.png",
        f"{study.part.name}, {arm}: the painted images with the highest filter score",
        [f"score {score:.2f}" for score in painted["scores"][rows]],
    )  # fmt: skip


def _text(recipe, config, studies, metrics):
    seeds = tables.counted(recipe.seeds, "seed")
    counts = [
        [name, *(_ratio(sets[split]) for split in splits.NAMES), sets["pool"]]
        for name, sets in metrics["splits"].items()
    ]
    tried = [
        f"{run['part']}, {run['variant']}: "
        + ", ".join(f"above {float(limit):.3g} {auc:.3f}" for limit, auc in run["tried"].items())
        for run in metrics["runs"]
        if run["tried"]
    ]
    lines = [
        f"# {recipe.title}\n",
        f"Re-run on `{recipe.data}`, profile `{config['profile']}`; {recipe.network} on {recipe.image_size}x"
        f"{recipe.image_size} pixels, {seeds}; UNIT (`{recipe.preset}`, width {recipe.width}) on "
        f"{recipe.patch_size}x{recipe.patch_size} patches, {metrics['runs'][0]['unit_steps']:,} steps of "
        f"{recipe.unit_batch}.\n",
        "**Do painted lesions help? (gain in test AUC over the baseline)**\n",
        *(f"- {_answer(run)}" for run in metrics["runs"] if run["variant"] in ("augmented", "transfer")),
        "",
        "95 % intervals in brackets: bootstrap that resamples whole X-rays and seeds; gains are paired. They do "
        "not cover re-training the translators.\n",
        "## Images (with a lesion : without)\n",
        tables.markdown(["part", "train", "validation", "test", "lesion images the translator saw"], counts),
        "No X-ray lies in two splits. Training lesions are as rare as in the paper's Table 1, the rest of the training "
        "side goes to the translator alone, as in the paper: look at the row with all of them before believing "
        "in synthesis.\n",
        "## Table 2\n",
        tables.markdown(
            ["part", "trained on", "lesions", "threshold", "painted", "test AUC", "gain", "AUC in the paper"],
            tables.lesion_rows(metrics["runs"]),
        ),
        *(f"![AUC](auc-{study.part.folder}.png)\n" for study in studies),
        "Validation AUC by which thresholds were chosen (first seed): " + "; ".join(tried) + ".\n",
        "## The patches\n",
        tables.lesion_checks(metrics["runs"]),
        tables.markdown(
            ["part", *(f"seam AUC, n = {n}" for n in next(iter(metrics["checks"].values()))["seams"])],
            [[name, *map(tables.decimal, found["seams"].values())] for name, found in metrics["checks"].items()],
        ),
        "On test X-rays. The detector is a compact CNN that learnt from the translator's real patches. The seam AUC "
        "is that of a compact CNN that sees only the border of painted windows and of the same windows before.\n",
        *(f"![stages](stages-{study.part.folder}.png)\n" for study in studies),
        "![losses](unit-losses.png)\n",
        "## How this was made\n",
        f"- Command: `{config['command']}`, {config['date']}, first seed {recipe.seed}.",
        f"- Blending exponent {recipe.exponent:g}. Thresholds offered: "
        f"{', '.join(f'{limit:g}' for limit in recipe.thresholds)} (0 lets all pass), and those that "
        f"{', '.join(f'{share:.0%}' for share in recipe.passing)} of the images pass.",
        "- All painted images with box, source, seed and score: `PART/ARM/images.csv`; each PNG says "
        "`synthetic=true`.",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in config['versions'].items())}.\n",
        "Not for clinical use.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _ratio(count):
    return f"{count['findings']}:{count['images'] - count['findings']}"


def _answer(run):
    gain = run["metrics"]["auc_gain"]
    verdict = (
        "helped" if gain["low"] > 0 else "did harm" if gain["high"] < 0 else "no difference that can be shown"
    )
    return f"{run['part']}, {run['variant']}: {verdict}, {tables.decimal(gain, signed=True)};"
