"""The paper's numbers beside those of a run and of the recorded runs, as tables with a column a run."""

from pathlib import Path

from keras_fracture.report import results, tables


def beside(key, run=None, folder="results"):
    """The paper's numbers beside ours.

    Args:
        key: The paper's.
        run: Folder of a finished run to show too, or None.
        folder: Where `KEY.json` is kept, if a run is recorded.

    Returns:
        Markdown: a table for each network, or bone, with the paper's numbers in the column `paper` and a column for
        each run, and a line that says which commands made the recorded ones, or that there are none.

    Raises:
        OutputError: `KEY.json` is not of its form, or the run is not finished.
    """
    path = Path(folder) / f"{key}.json"
    recorded = results.read(path)["runs"] if path.is_file() else []
    here = [] if run is None else results.of_run(run)["runs"]
    found = {}
    for prefix, runs in (("here: ", here), ("recorded: ", recorded)):
        for one in runs:
            subject, numbers = _NUMBERS[key](one)
            rows, columns = found.setdefault(subject, ({}, {}))
            column = columns.setdefault(prefix + _conditions(key, one), {})
            for name, (reported, ours) in numbers.items():
                rows[name] = rows.get(name) or reported
                column[name] = ours
    text = "".join(_table(subject, *parts) + "\n" for subject, parts in found.items())
    if not recorded:
        return f"{text}No run of `{key}` is recorded yet.\n"
    commands = dict.fromkeys(one["command"] for one in recorded)
    return text + "Recorded: " + "; ".join(f"`{command}`" for command in commands) + "\n"


def _table(subject, rows, columns):
    lines = [
        [name, said, *(column.get(name, "") for column in columns.values())] for name, said in rows.items()
    ]
    return tables.markdown([subject, "paper", *columns], lines)


def _conditions(key, run):
    """The head of a run's column: all that tells runs of one subject apart."""
    arms = key in ("ibrahim_gan", "gupta_unit")  # there variants are rows
    parts = [run["data"], f"{run['split_policy']} split", run["profile"]]
    if not arms and run["variant"] != "paper":
        parts.append(run["variant"])
    if "image_size" in run:
        parts.append(f"{run['image_size']} pixels")
    if "epochs" in run:
        parts.append(tables.counted(run["epochs"], "epoch"))
    return ", ".join(parts)


_WORDS = {
    "train_accuracy": "training accuracy",
    "validation_auc": "validation AUC",
    "f1": "F1",
    "auc": "AUC",
    "sensitivity_at_90": "sensitivity at 90 % specificity",
}


def _arms(run):
    arm, scores = run["variant"], run["metrics"]
    return run["model"], {
        f"{arm}: accuracy": (f"{run['reported']['accuracy']:g}", tables.decimal(scores["accuracy"])),
        f"{arm}: AUC": ("", tables.decimal(scores["auc"])),
        f"{arm}: validation accuracy": ("", tables.decimal(scores["validation_accuracy"])),
    }


def _classifier(run):
    shown = dict.fromkeys(
        ("validation_accuracy", "validation_auc", *run["reported"], "auc", "sensitivity_at_90")
    )
    return run["model"], {
        _WORDS.get(metric, metric.replace("_", " ")): (
            f"{run['reported'][metric]:g}" if metric in run["reported"] else "",
            _score(run["metrics"][metric]),
        )
        for metric in shown
    }


def _score(score):
    """With its interval, unless that is a single seed's span."""
    return tables.decimal(score) if score["low"] < score["high"] else f"{score['value']:.3f}"


def _generator(run):
    found = {}
    for name, words in (("g_loss", "generator loss"), ("d_loss", "discriminator loss")):
        for end, place in (("first", 0), ("last", -1)):
            reported = run["reported"][name][place][1]
            found[f"{words}, {end} epoch"] = (f"{reported:g}", f"{run['losses'][name][end]:.4f}")
    for name, words in (("kid", "KID"), ("fid", "FID"), ("copies_features", "share of near copies")):
        one = run["metrics"][name]
        found[words] = ("", f"{one['value']:.4f} (real against real {one['real_vs_real']:.4f})")
    return run["model"], found


def _lesions(run):
    said = run["reported"]
    reported = f"{said['auc']:.3f} ({said['low']:.3f} to {said['high']:.3f})" if said else ""
    return run["stands_for"], {f"{run['variant']}: AUC": (reported, tables.decimal(run["metrics"]["auc"]))}


_NUMBERS = {
    "bai_dcgan": _generator,
    "garcia_inception": _classifier,
    "gupta_unit": _lesions,
    "ibrahim_gan": _arms,
    "lisbon_resnet": _classifier,
}
