"""The paper's numbers beside those of a run and of the recorded runs, as tables with a column a run."""

from pathlib import Path

from keras_fracture import papers
from keras_fracture.report import results
from keras_fracture.report.markdown import counted, markdown, plain


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
    recorded = plain(results.read(path)["runs"]) if path.is_file() else []
    here = [] if run is None else plain(results.read_run(run)["runs"])
    report, tables = papers.get(key).report, {}
    for prefix, runs in (("here: ", here), ("recorded: ", recorded)):
        for one in runs:
            subject, numbers = report.compare(one)
            rows, columns = tables.setdefault(subject, ({}, {}))
            column = columns.setdefault(prefix + _conditions(one, numbers), {})
            for name, (reported, ours) in numbers.items():
                rows[name] = rows.get(name) or reported
                column[name] = ours
    text = "".join(_table(subject, *parts) + "\n" for subject, parts in tables.items())
    if not recorded:
        return f"{text}No run of `{key}` is recorded yet.\n"
    commands = dict.fromkeys(one["command"] for one in recorded)
    return text + "Recorded: " + "; ".join(f"`{command}`" for command in commands) + "\n"


def _table(subject, rows, columns):
    lines = [
        [name, reported, *(column.get(name, "") for column in columns.values())]
        for name, reported in rows.items()
    ]
    return markdown([subject, "paper", *columns], lines)


def _conditions(run, numbers):
    """The head of a run's column: all that tells runs of one subject apart."""
    parts = [run["data"], f"{run['split_policy']} split", run["profile"]]
    in_rows = all(name.startswith(f"{run['variant']}: ") for name in numbers)  # there variants are arms
    if not in_rows and run["variant"] != "paper":
        parts.append(run["variant"])
    if "image_size" in run:
        parts.append(f"{run['image_size']} pixels")
    if "epochs" in run:
        parts.append(counted(run["epochs"], "epoch"))
    if "unit_steps" in run:
        parts.append(f"{run['unit_steps']:,} steps of UNIT")
    return ", ".join([*parts, *results.others(run)])
