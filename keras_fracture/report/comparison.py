"""The paper's numbers beside those of a run and of the recorded runs, as one table with a column a run."""

from pathlib import Path

from keras_fracture.report import results, tables


def beside(key, run=None, folder="results"):
    """The paper's numbers beside ours.

    Args:
        key: The paper's.
        run: Folder of a finished run to show too, or None.
        folder: Where `KEY.json` is kept, if a run is recorded.

    Returns:
        Markdown: a table with the paper's numbers in the column `paper` and a column for each run, and a line that
        says which commands made the recorded ones, or that there are none.

    Raises:
        OutputError: `KEY.json` is not of its form, or the run is not finished.
    """
    path = Path(folder) / f"{key}.json"
    recorded = results.read(path)["runs"] if path.is_file() else []
    here = [] if run is None else results.of_run(run)["runs"]
    rows, columns = {}, {}
    for prefix, runs in (("here: ", here), ("recorded: ", recorded)):
        for one in runs:
            column = columns.setdefault(prefix + _conditions(key, one), {})
            for name, (reported, ours) in _NUMBERS[key](one).items():
                rows[name] = rows.get(name) or reported
                column[name] = ours
    lines = [
        [name, said, *(column.get(name, "") for column in columns.values())] for name, said in rows.items()
    ]
    table = tables.markdown(["", "paper", *columns], lines) + "\n" if rows else ""
    if not recorded:
        return f"{table}No run of `{key}` is recorded yet.\n"
    commands = dict.fromkeys(one["command"] for one in recorded)
    return table + "Recorded: " + "; ".join(f"`{command}`" for command in commands) + "\n"


def _conditions(key, run):
    """The head of a run's column."""
    arms = key in ("ibrahim_gan", "gupta_unit")  # there variants are rows
    variant = "" if arms or run["variant"] == "paper" else f", {run['variant']}"
    return f"{run['data']}, {run['split_policy']} split, {run['profile']}{variant}"


def _arms(run):
    scores = run["metrics"]
    return {
        f"{run['variant']}: accuracy": (
            f"{run['reported']['accuracy']:g}",
            tables.decimal(scores["accuracy"]),
        ),
        f"{run['variant']}: AUC": ("", tables.decimal(scores["auc"])),
    }


def _classifier(run):
    shown = dict.fromkeys(
        ("validation_accuracy", "validation_auc", *run["reported"], "auc", "sensitivity_at_90")
    )
    return {
        f"{run['model']}: {metric.replace('_', ' ')}": (
            f"{run['reported'][metric]:g}" if metric in run["reported"] else "",
            tables.decimal(run["metrics"][metric]),
        )
        for metric in shown
    }


def _generator(run):
    found = {}
    for name, words in (("g_loss", "generator loss"), ("d_loss", "discriminator loss")):
        for end, place in (("first", 0), ("last", -1)):
            reported = run["reported"][name][place][1]
            found[f"{words}, {end} epoch"] = (f"{reported:g}", f"{run['losses'][name][end]:.4f}")
    for name, words in (("kid", "KID"), ("fid", "FID"), ("copies_features", "share of near copies")):
        one = run["metrics"][name]
        found[words] = ("", f"{one['value']:.4f} (real against real {one['floor']:.4f})")
    return found


def _lesions(run):
    said = run["reported"]
    reported = f"{said['auc']:g} ({said['low']:g} to {said['high']:g})" if said else ""
    name = f"{run['stands_for']}, {run['variant']}: AUC"
    return {name: (reported, tables.decimal(run["metrics"]["auc"]))}


_NUMBERS = {
    "bai_dcgan": _generator,
    "garcia_inception": _classifier,
    "gupta_unit": _lesions,
    "ibrahim_gan": _arms,
    "lisbon_resnet": _classifier,
}
