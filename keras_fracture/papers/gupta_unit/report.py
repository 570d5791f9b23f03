"""The paper's Table 2 beside ours, Figure 2, and what is said of the patches themselves."""

import numpy as np
import pandas as pd

from keras_fracture import evaluation, files, synthesis
from keras_fracture.data import splits
from keras_fracture.experiment.runs import read_config, write_metrics
from keras_fracture.experiment.splits import counts, how_told
from keras_fracture.papers.gupta_unit.config import Config
from keras_fracture.papers.gupta_unit.parts import without_hardware
from keras_fracture.papers.gupta_unit.study import exactly
from keras_fracture.progress import Bar
from keras_fracture.report import captions, figures, galleries
from keras_fracture.report.groups import ENOUGH, FEW
from keras_fracture.report.markdown import Figures, counted, dated, decimal, markdown, over_seeds
from keras_fracture.report.results import others, profile, unusual

ARMS = {
    "unvaried": "no variation of images",
    "baseline": "baseline: linear transformations",
    "oversampled": "lesions oversampled",
    "weighted": "classes weighted",
    "pool": "more real lesions",
    "copy_paste": "real lesions pasted in",
    "augmented": "augmented: own translator",
    "transfer": "transfer: first part's translator",
}
# What the table of all papers shows: what is measured, with a run's fields in braces, its metric, and which runs
# measured it.
HEADLINES = (
    ("{part} (paper: femur), baseline: AUC", "auc", {"variant": "baseline", "stands_for": "femur"}),
    ("{part} (paper: femur), lesions painted in: AUC", "auc", {"variant": "transfer", "stands_for": "femur"}),
)
FRONT = (  # of README
    (
        "femur with painted lesions, AUC",
        "auc",
        {"variant": "transfer", "stands_for": "femur", "data": "btxrd"},
        ("without painted lesions", {"variant": "baseline"}),
    ),
)
_SIZES = ("image_size", "epochs")  # that the tables show where they are not the profile's
_LOSSES = ("gan", "reconstruction", "cycle")
_EXPONENT = 2.0  # of all rows that do not say theirs


def write(config, results, run):
    """Writes figures, `metrics.json` and `report.md`.

    Args:
        config: The `Config`.
        results: A list of `study.Study`.
        run: An `experiment.runs.Run`.

    Returns:
        What `metrics.json` holds.
    """
    recorded = read_config(run.folder)
    jobs = [(study, arm) for study in results for arm in ARMS if arm in study.arms]
    rows = [
        _row(config, recorded, study, arm, study.scores(arm))
        for study, arm in Bar(jobs, "intervals", unit=" arms", delay=5)
    ]
    names = _figures(config, results, rows, run.folder)
    split_counts = {study.part.name: _counts(study.part) for study in results}
    checks = {study.part.name: study.checks for study in results if study.own}
    histories = [study.own.history.assign(part=study.part.name) for study in results if study.own]
    files.write_text(run.folder / "history.csv", pd.concat(histories).to_csv(index=False))
    parts = {study.part.name: study.part.folder for study in results}
    files.write_text(
        run.folder / "report.md", _text(config, recorded, rows, split_counts, checks, parts, run.folder)
    )
    return write_metrics(run.folder, config, rows, splits=split_counts, checks=checks, figures=names)


def table(runs):
    """README's table: one row a part and an arm, as in the paper's Table 2."""
    header = ["data", "part", "trained on", "lesions", "threshold", "painted", "ours: test AUC", "gain in AUC",
              "paper: AUC", "steps of UNIT", "profile, seeds", "date"]  # fmt: skip
    rows = [
        [
            run["data"],
            *row,
            f"{run['unit_steps']:,}",
            f"{profile(run, Config, *_SIZES)}, {run['seeds']}",
            dated(run),
        ]
        for run, row in zip(runs, _arm_rows(runs), strict=True)
    ]
    return markdown(header, rows)


def checks_table(runs):
    """What is said of the painted patches themselves: one row a part that has a translator."""
    header = ["data", "part", "steps of UNIT", "detector's AUC on real patches",
              "score raised by translating, % of patches", "mean score: healthy, translated, real lesion",
              "cycle error, share of range", "seam AUC (0.5: no trace)", "exponent"]  # fmt: skip
    checked = {(run["data"], run["part"], _steps(run)): run["checks"] for run in runs if run["checks"]}
    rows = [
        [
            *names, over_seeds(checks["detector_auc"]), f"{100 * checks['raised']:.0f}",
            f"{checks['score_before']:.2f}, {checks['score_after']:.2f}, {checks['score_lesions']:.2f}",
            f"{checks['cycle_error']:.3f}", decimal(checks["seam_auc"]),
            f"{checks.get('exponent', _EXPONENT):g}",
        ]
        for names, checks in checked.items()
    ]  # fmt: skip
    return markdown(header, rows)


# Further tables that README shows, by name.
TABLES = {"gupta_checks": checks_table}


def compare(run):
    """One run beside the paper: what the table is about, and name of a number to (the paper's, ours)."""
    return run["stands_for"], {
        f"{run['variant']}: AUC": (_reported_auc(run["reported"]), decimal(run["metrics"]["auc"]))
    }


def _arm_rows(runs):
    """Rows of the paper's Table 2 with ours, one a run."""
    rows = []
    for run in runs:
        scores = run["metrics"]
        gain = scores.get("auc_gain")
        rows.append([
            run["part"], ARMS[run["variant"]], run["lesions"],
            "" if run["threshold"] is None else f"{run['threshold']:.3g}", run["added"] or "",
            decimal(scores["auc"]), decimal(gain, signed=True) if gain else "", _reported_auc(run["reported"]),
        ])  # fmt: skip
    return rows


def _steps(run):
    """Steps of the translator, and the settings that are not the profile's."""
    return ", ".join([f"{run['unit_steps']:,}", *unusual(run, Config, *_SIZES), *others(run, Config)])


def _reported_auc(reported):
    return f"{reported['auc']:.3f} ({reported['low']:.3f} to {reported['high']:.3f})" if reported else ""


def _row(config, recorded, study, arm, scores):
    result, reported = study.arms[arm], config.REPORTED[study.part.bone].get(arm)
    return {
        "variant": arm,
        "model": config.network,
        "data": config.data_title,
        "part": study.part.name,
        "stands_for": study.part.bone,
        "split_policy": "grouped",
        "profile": recorded["profile"],
        "seeds": config.seeds,
        "epochs": config.epochs,
        "image_size": config.image_size,
        "unit_steps": config.unit_epochs * config.unit_steps,
        "lesions": result.lesions,
        "added": result.added,
        "threshold": result.threshold,
        "tried": {exactly(limit): auc for limit, auc in result.tried.items()},
        "test_sources": evaluation.least_sources(study.part.test),
        "metrics": scores,
        "reported": dict(zip(("auc", "low", "high", "threshold", "added"), reported, strict=True))
        if reported
        else None,
        "checks": study.checks,
    }


def _counts(part):
    sets = {"train": part.train, "validation": part.validation, "test": part.test}
    hardware = int((~without_hardware(part.pool)).sum())
    return counts(sets) | {"pool": len(part.pool.labels), "pool_hardware": hardware}


def _figures(config, studies, runs, folder):
    """Writes all figures; returns what `public_figures` does."""
    seeds = counted(config.seeds, "seed")
    by_part = {study.part.name: [run for run in runs if run["part"] == study.part.name] for study in studies}
    for study in studies:
        own = {run["variant"]: run for run in by_part[study.part.name]}
        reported = config.REPORTED[study.part.bone]
        figures.intervals(
            {"ours": [own[arm]["metrics"]["auc"] for arm in own]},
            folder / f"auc-{study.part.folder}.png", [ARMS[arm].replace(": ", ":\n") for arm in own],
            "area under ROC", f"{study.part.name} of {config.data_title}: test AUC, {seeds}, 95 % intervals",
            [reported[arm][0] if arm in reported else np.nan for arm in own],
            f"reported for the {study.part.bone}", slant=True,
        )  # fmt: skip
    losses = {
        study.part.name: {name: study.own.history[name] for name in study.own.history if name in _LOSSES}
        for study in studies
        if study.own
    }
    figures.curves(
        losses,
        folder / "unit-losses.png",
        "loss, without its weight",
        "UNIT while training: mean of each epoch",
        scale="log",  # the GAN's is many times the others
    )
    for study in studies:
        _stages(config, study, studies[0], folder)
        if study.own:
            part = study.part.folder
            galleries.animation(folder / part / "unit" / "samples", folder / f"translations-{part}.gif")
    return public_figures(config.data_title, [study.part.folder for study in studies])


def public_figures(data, parts):
    """Names of the figures that show no X-ray of a real person."""
    plots = [*(f"auc-{part}.png" for part in parts), "unit-losses.png"]
    return plots + [f"stages-{part}.png" for part in parts if data == "phantom"]


def _stages(config, study, first, folder):
    """Figure 2: the four painted images that the filter scores highest."""
    arm = "augmented" if "augmented" in study.painted else "transfer"
    translator = (study.own or first.own).unit
    painted = study.painted[arm]
    rows = np.argsort(-painted["scores"], kind="stable")[:4]
    before = study.part.train.of(0)[painted["rows"][rows]]
    windows = painted["windows"][rows]
    blended, patches = synthesis.paint(
        before, windows, translator.translate, study.exponent, config.patch_size
    )
    galleries.stages(
        before, windows, patches, blended, folder / f"stages-{study.part.folder}.png",
        f"{study.part.name}, {arm}: the painted images with the highest filter score",
        [f"score {score:.2f}" for score in painted["scores"][rows]],
    )  # fmt: skip


def _text(config, recorded, rows, split_counts, checks, parts, folder):
    seeds, numbered = counted(config.seeds, "seed"), Figures()
    lines = [
        f"# {config.title}\n",
        f"Re-run on `{config.data_title}`, profile `{recorded['profile']}`; {config.network} on {config.image_size}x"
        f"{config.image_size} pixels, {seeds}; UNIT (`{config.preset}`, width {config.width}) on "
        f"{config.patch_size}x{config.patch_size} patches, {rows[0]['unit_steps']:,} steps of "
        f"{config.unit_batch}.\n",
        *how_told(config),
        "**Do painted lesions help? (gain in test AUC over the baseline)**\n",
        *(f"- {_verdict(run)}" for run in rows if run["variant"] in ("augmented", "transfer")),
        "",
        f"95 % intervals in brackets, paired for gains: {captions.resampled(config.seeds)}. They do not cover "
        "re-training the translators. Without any effect at least one gain in twenty has an interval that excludes 0, "
        f"more with few seeds ({config.seeds} here), and all of a part share its test images.\n",
        "## Images (with a lesion : without)\n",
        markdown(
            ["part", "train", "validation", "test", "lesion images the translator saw"],
            [
                [
                    name,
                    *(_ratio(sets[split]) for split in splits.NAMES),
                    f"{sets['pool']} ({sets['pool_hardware']} with known hardware)",
                ]
                for name, sets in split_counts.items()
            ],
        ),
        "No X-ray, or patient where known, lies in two splits, not even of two parts. Training lesions are as rare as "
        "in the paper's Table 1, the rest of the training side goes to the translator alone, as in the paper, with "
        "those that show hardware: look at the row with all others before believing in synthesis.\n",
        "## Table 2\n",
        markdown(
            ["part", "trained on", "lesions", "threshold", "painted", "test AUC", "gain", "AUC in the paper"],
            _arm_rows(rows),
        ),
        *(
            numbered.add(
                f"auc-{part}.png",
                f"{name}: test AUC of each way to train, {seeds}, 95 % intervals; crosses: what the paper reports. "
                "For differences look at the table's gains: they are paired.",
            )
            for name, part in parts.items()
        ),
        f"Validation AUC by which thresholds were chosen (first seed): {_tried(rows)}.\n",
    ]
    lines += _patches(rows, checks, parts, numbered) + _animations(parts, folder, numbered)
    lines += _how_it_was_made(config, recorded)
    return "\n".join(lines) + "\n"


def _tried(rows):
    return "; ".join(
        f"{run['part']}, {run['variant']}: "
        + ", ".join(f"above {float(limit):.3g} {auc:.3f}" for limit, auc in run["tried"].items())
        for run in rows
        if run["tried"]
    )


def _patches(rows, checks, parts, numbered):
    return [
        "## The patches\n",
        checks_table(rows),
        markdown(
            ["part", *(f"seam AUC, n = {n}" for n in next(iter(checks.values()))["seams"])],
            [[name, *map(decimal, one["seams"].values())] for name, one in checks.items()],
        ),
        "On test X-rays, but for the seam. The detector is a compact CNN that learnt from the translator's real "
        "patches. The seam AUC is that of a compact CNN that sees only the border of painted windows and of the same "
        "windows before, in training images.\n",
        *(f"{_chosen(name, one['chosen'])}\n" for name, one in checks.items() if "chosen" in one),
        *(
            numbered.add(
                f"stages-{part}.png",
                f"{name}: lesions painted into healthy X-rays, the four with the highest filter score. From the left: "
                "the original, the translated patch put into its window, the blended image, and the three close up. "
                "Look for the window's edges: a classifier may learn them in place of lesions.",
            )
            for name, part in parts.items()
        ),
        numbered.add(
            "unit-losses.png",
            "Losses of the translators while training, mean of each epoch. Reconstruction and "
            "cycle should fall; the adversarial one (gan) need not.",
        ),
    ]


def _chosen(name, chosen):
    return (
        f"{name}: the translator of epoch {chosen['epoch']} paints, whose patches come closest to real lesions of the "
        f"validation images: KID {chosen['kid']:.4f}, after the last epoch {chosen['last_kid']:.4f}."
    )


def _animations(parts, folder, numbered):
    """The trainings of the translators, but of those too short for two grids."""
    return [
        numbered.add(
            f"translations-{part}.gif",
            f"{name}: the same healthy patches (top) and their translations (below) while the translator "
            "learns, as an animation that stays for two seconds at the last epoch. Look whether lesions appear, "
            "and whether the bone around them stays.",
        )
        for name, part in parts.items()
        if (folder / f"translations-{part}.gif").exists()
    ]


def _how_it_was_made(config, recorded):
    return [
        "## How this was made\n",
        f"- Command: `{recorded['command']}`, {recorded['date']}, first seed {config.seed}.",
        f"- Blending exponent {_exponent(config)}. Thresholds offered: "
        f"{', '.join(f'{limit:g}' for limit in config.thresholds)} (0 lets all pass), and those that "
        f"{', '.join(f'{share:.0%}' for share in config.passing_shares)} of the images pass.",
        "- All painted images with box, source, seed and score: `PART/ARM/images.csv`; each PNG says "
        "`synthetic=true`.",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in recorded['versions'].items())}.\n",
        "Not for clinical use.",
    ]


def _exponent(config):
    if config.exponent is not None:
        return f"{config.exponent:g}"
    return (
        f"of each translator: the largest of {', '.join(f'{n:g}' for n in config.exponents)} whose seam AUC on "
        f"training images is at most {config.seam_limit:g}, else the smallest"
    )


def _ratio(count):
    return f"{count['findings']}:{count['images'] - count['findings']}"


def _verdict(run):
    gain = run["metrics"]["auc_gain"]
    if run["test_sources"] < ENOUGH:
        verdict = FEW
    elif gain["low"] > 0:
        verdict = "helped"
    else:
        verdict = "did harm" if gain["high"] < 0 else "no difference that can be shown"
    painted = counted(run["added"], "painted image")  # one or two can hardly be what made a difference
    return f"{run['part']}, {run['variant']}: {verdict}, {decimal(gain, signed=True)}, by {painted};"
