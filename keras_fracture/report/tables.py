"""Tables for README and reports, generated from `results/KEY.json`.

keras-fracture tables            # rewrite README.md between its markers
keras-fracture tables --check    # only say whether it is up to date
"""

import re
from pathlib import Path

from keras_fracture import files
from keras_fracture.errors import OutputError
from keras_fracture.report import benchmarks, reliability, results

LESION_ARMS = {
    "unvaried": "no variation of images",
    "baseline": "baseline: linear transformations",
    "oversampled": "lesions oversampled",
    "weighted": "classes weighted",
    "pool": "all lesions the translator saw",
    "copy_paste": "real lesions pasted in",
    "augmented": "augmented: own translator",
    "transfer": "transfer: first part's translator",
}
# Paper, what is measured, its metric, and which runs of `results/KEY.json` measured it.
_HEADLINES = (
    ("ibrahim_gan", "original images: accuracy", "accuracy", {"variant": "original", "split_policy": "grouped"}),
    ("ibrahim_gan", "and synthetic ones: accuracy", "accuracy", {"variant": "synthetic", "split_policy": "grouped"}),
    ("garcia_inception", "Inception net: accuracy", "accuracy", {"image_size": 64, "data": "kaggle_fracture"}),
    ("lisbon_resnet", "ResNet-34: AUC", "auc", {"model": "resnet34"}),
    ("gupta_unit", "femur, baseline: AUC", "auc", {"variant": "baseline", "stands_for": "femur"}),
    ("gupta_unit", "femur, lesions painted in: AUC", "auc", {"variant": "transfer", "stands_for": "femur"}),
    ("bai_dcgan", "DCGAN: kernel distance to real images", "kid", {}),
)  # fmt: skip
# The day since which augmentation draws independent numbers and splits keep their shares in small strata: numbers from
# before it would not come out again.
MENDED = "2026-11-25"
_MARK = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.S)


def percent(score, signed=False):
    """`81.2 (79.9 to 82.5)` from a dict of value, low and high; `+1.2` with `signed`."""
    sign = "+" if signed else ""
    return f"{100 * score['value']:{sign}.1f} ({100 * score['low']:{sign}.1f} to {100 * score['high']:{sign}.1f})"


def decimal(score, signed=False):
    """`0.812 (0.799 to 0.825)` from a dict of value, low and high."""
    sign = "+" if signed else ""
    return f"{score['value']:{sign}.3f} ({score['low']:{sign}.3f} to {score['high']:{sign}.3f})"


def _over_seeds(score):
    """`decimal`, without an interval where a single seed has none."""
    return decimal(score) if score["low"] < score["high"] else f"{score['value']:.3f}"


def counted(number, noun):
    """A number with its noun, such as "1 seed" and "3 seeds"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def dated(run):
    """A run's day, and whether it is from before `MENDED`."""
    return run["date"] + (", *before the mend*" if run["date"] < MENDED else "")


def markdown(header, rows):
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def arms(runs):
    """The table of a paper that compares ways of training: one row a run."""
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


def classifiers(runs):
    """The table of a paper that compares architectures: one row a run, the paper's numbers in front."""
    header = ["data", "split", "model", "variant", "paper: accuracy %, AUC", "validation accuracy %",
              "validation AUC", "test accuracy %", "test AUC", "sensitivity at 90 % specificity", "profile",
              "pixels, epochs, seeds", "date"]  # fmt: skip
    rows = []
    for run in runs:
        scores, reported = run["metrics"], run["reported"]
        rows.append([
            run["data"], run["split_policy"], run["model"], run["variant"],
            f"{100 * reported['accuracy']:.0f}" + (f", {reported['auc']:.2f}" if "auc" in reported else ""),
            percent(scores["validation_accuracy"]), decimal(scores["validation_auc"]), percent(scores["accuracy"]),
            decimal(scores["auc"]), percent(scores["sensitivity_at_90"]), run["profile"],
            f"{run['image_size']}, {run['epochs']}, {run['seeds']}", dated(run),
        ])  # fmt: skip
    return markdown(header, rows)


def generators(runs):
    """The table of a paper that trains GANs: one row a run, losses of the last epoch beside the paper's."""
    header = ["data", "split", "variant", "generator loss, paper", "ours", "discriminator loss, paper", "ours",
              "KID, of several seeds lowest to highest", "KID, real against real", "near copies %", "real %",
              "epochs, minutes, seeds", "profile", "date"]  # fmt: skip
    rows = []
    for run in runs:
        scores, losses = run["metrics"], []
        for name in ("g_loss", "d_loss"):
            reported = run["reported"][name][-1][1]
            losses += [f"{reported:.2f}", f"{run['losses'][name]['last']:.2f}"]
        copies = scores["copies_features"]
        rows.append([
            run["data"], run["split_policy"], run["variant"], *losses,
            _over_seeds(scores["kid"]),
            f"{scores['kid']['real_vs_real']:.3f}", f"{100 * copies['value']:.1f}",
            f"{100 * copies['real_vs_real']:.1f}",
            f"{run['epochs']}, {run['minutes']['value']:.0f}, {run['seeds']}", run["profile"], dated(run),
        ])  # fmt: skip
    return markdown(header, rows)


def lesion_rows(runs):
    """Rows of the paper's Table 2 with ours, one a run."""
    found = []
    for run in runs:
        scores, said = run["metrics"], run["reported"]
        gain = scores.get("auc_gain")
        found.append([
            run["part"], LESION_ARMS[run["variant"]], run["lesions"],
            "" if run["threshold"] is None else f"{run['threshold']:.3g}", run["added"] or "",
            decimal(scores["auc"]), decimal(gain, signed=True) if gain else "",
            f"{said['auc']:.3f} ({said['low']:.3f} to {said['high']:.3f})" if said else "",
        ])  # fmt: skip
    return found


def lesions(runs):
    """The table of a paper that paints lesions: one row a part and an arm, as in its Table 2."""
    header = ["data", "part", "trained on", "lesions", "threshold", "painted", "ours: test AUC", "gain in AUC",
              "paper: AUC", "steps of UNIT", "profile, seeds", "date"]  # fmt: skip
    rows = [
        [run["data"], *row, f"{run['unit_steps']:,}", f"{run['profile']}, {run['seeds']}", dated(run)]
        for run, row in zip(runs, lesion_rows(runs), strict=True)
    ]
    return markdown(header, rows)


def lesion_checks(runs):
    """What is said of the painted patches themselves: one row a part that has a translator."""
    header = ["data", "part", "steps of UNIT", "detector's AUC on real patches",
              "score raised by translating, % of patches", "mean score: healthy, translated, real lesion",
              "cycle error, share of range", "seam AUC (0.5: no trace)"]  # fmt: skip
    checked = {
        (run["data"], run["part"], f"{run['unit_steps']:,}"): run["checks"] for run in runs if run["checks"]
    }
    rows = [
        [
            *names, decimal(found["detector_auc"]), f"{100 * found['raised']:.0f}",
            f"{found['score_before']:.2f}, {found['score_after']:.2f}, {found['score_lesions']:.2f}",
            f"{found['cycle_error']:.3f}", decimal(found["seam_auc"]),
        ]
        for names, found in checked.items()
    ]  # fmt: skip
    return markdown(header, rows)


def papers(folder):
    """The table of all papers: their headline numbers beside ours.

    Args:
        folder: Where `KEY.json` are kept; a paper without one is left out.

    Raises:
        OutputError: A file is not of its form.
    """
    rows = []
    for key, what, metric, where in _HEADLINES:
        path = Path(folder) / f"{key}.json"
        runs = results.read(path)["runs"] if path.is_file() else []
        for run in runs:
            if where.items() <= run.items():
                score, reported = run["metrics"][metric], (run["reported"] or {}).get(metric)
                rows.append([
                    f"`{key}`", what, f"{reported:.3f}" if reported else "not given", _over_seeds(score),
                    _how(run, where),
                ])  # fmt: skip
    return markdown(["key", "on test images", "paper", "ours", "how ours was measured"], rows)


def _how(run, where):
    part = f", {run['part']}" if "part" in run else ""
    arm = "variant" in where  # there it is said already
    variant = "" if arm or run["variant"] == "paper" else f", variant {run['variant']}"
    pixels = f", {run['image_size']} pixels" if "image_size" in run else ""
    return (
        f"{run['data']}{part}, {run['split_policy']} split{variant}, profile {run['profile']}{pixels}, "
        f"seeds: {run['seeds']}, {dated(run)}"
    )


_FORMS = {
    "bai_dcgan": generators,
    "garcia_inception": classifiers,
    "gupta_unit": lesions,
    "ibrahim_gan": arms,
    "lisbon_resnet": classifiers,
}


def generate(folder, key):
    """A table of README or BENCHMARKS.

    Args:
        folder: Where `KEY.json` are kept.
        key: A paper's, for its numbers and the commands that made them; "papers" for all papers beside each other;
            "gupta_checks"; "benchmark_ratios"; or "benchmark_" and the section
            of a benchmark; or "reliability".
    """
    if key == "benchmark_ratios":
        return benchmarks.ratios(Path(folder) / "benchmark.json")
    if key.startswith("benchmark_"):
        return benchmarks.table(Path(folder) / "benchmark.json", key.removeprefix("benchmark_"))
    if key == "papers":
        return papers(folder)
    if key == "reliability":
        return markdown(*reliability.rows(Path(folder) / "reliability.json"))
    if key == "gupta_checks":
        return lesion_checks(results.read(Path(folder) / "gupta_unit.json")["runs"])
    runs = results.read(Path(folder) / f"{key}.json")["runs"]
    commands = dict.fromkeys(run["command"] for run in runs)
    return _FORMS[key](runs) + "\n" + "".join(f"`{command}`\n" for command in commands)


def update(readme="README.md", folder="results", check=False):
    """Rewrites all tables of a Markdown file between `<!-- table KEY -->` and `<!-- end -->`.

    Args:
        readme: The file.
        folder: Where `KEY.json` are kept.
        check: Write nothing; only compare.

    Returns:
        Whether the file was up to date.

    Raises:
        OutputError: `check`, and it is not.
    """
    before = Path(readme).read_text(encoding="utf-8")
    after = _MARK.sub(lambda match: match[1] + generate(folder, match[2]) + match[3], before)
    if before != after:
        if check:
            raise OutputError(f"The tables of {readme} are not those of {folder}/: run make tables")
        files.write_text(readme, after)
    return before == after
