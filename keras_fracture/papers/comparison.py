"""The paper's numbers beside those of a run and of the recorded runs, as tables with a column a run."""

from pathlib import Path

from keras_fracture import papers
from keras_fracture.report import results
from keras_fracture.report.markdown import MENDED, counted, markdown, plain

_MOST = 4  # recorded columns of a table


def beside(key, run=None, folder="results"):
    """The paper's numbers beside ours.

    Args:
        key: The paper's.
        run: Folder of a finished run to show too, or None.
        folder: Where `KEY.json` is kept, if a run is recorded.

    Returns:
        Markdown: a table for each network, or bone, with the paper's numbers in the column `paper`, a column for the
        run and one each for some recorded ones, if there are many one of the paper's own recipe and those that were
        best on validation images; what must be known to compare them, where a paper's `COMPARED` says so; and a
        numbered list of the commands that made these, or a line that there are none.

    Raises:
        OutputError: `KEY.json` is not of its form, or the run is not finished.
    """
    here = [] if run is None else plain(results.read_run(run)["runs"])
    return _beside(key, _columns(key, "here", here), folder)


def refreshed(key, text, folder="results"):
    """What `beside` would say now: its text of an earlier day with the columns of the runs that are recorded today.

    Args:
        key: The paper's.
        text: Of `beside`, whose columns `here` stay; which of their numbers the paper's stand beside is known better by
            now where a run is recorded.
        folder: Where `KEY.json` is kept, if a run is recorded.

    Raises:
        OutputError: `KEY.json` is not of its form.
    """
    said = {}
    for subject, _, numbers in _columns(key, "recorded", _recorded(key, folder)):
        for name, (reported, _) in numbers.items():
            said[subject, name] = said.get((subject, name)) or reported
    here = [
        (
            subject,
            head,
            {name: (said.get((subject, name), cells[0]), cells[1]) for name, cells in numbers.items()},
        )
        for subject, head, numbers in _columns_here(text)
    ]
    return _beside(key, here, folder)


def _recorded(key, folder):
    path = Path(folder) / f"{key}.json"
    return plain(results.read(path)["runs"]) if path.is_file() else []


def _beside(key, here, folder):
    """The tables of columns as `_columns` gives them, with those of the recorded runs."""
    recorded = _recorded(key, folder)
    known, tables, made = _columns(key, "recorded", recorded), {}, {}
    shown = _best(recorded, known)
    for subject, head, numbers in here:
        _add(tables, subject, head, numbers)
    for run, (subject, head, numbers) in zip(recorded, known, strict=True):
        if (subject, head) in shown:
            number = made.setdefault(run["command"], len(made) + 1)
            _add(tables, subject, head.replace("recorded", f"recorded {number}", 1), numbers)
    text = "".join(_table(subject, *parts) + "\n" for subject, parts in tables.items())
    if tables and (compared := getattr(papers.get(key).config.Config, "COMPARED", "")):
        text += f"{compared}\n\n"
    if not recorded:
        return f"{text}No run of `{key}` is recorded yet.\n"
    left = len({(subject, head) for subject, head, _ in known}) - len(shown)
    more = f" {left} more columns: `docs/papers/{key}.md`." if left else ""
    return f"{text}Recorded by:{more}\n\n" + "".join(
        f"{number}. `{command}`\n" for command, number in made.items()
    )


def _add(tables, subject, head, numbers):
    rows, columns = tables.setdefault(subject, ({}, {}))
    for name, (reported, ours) in numbers.items():
        rows[name] = rows.get(name) or reported
        columns.setdefault(head, {})[name] = ours


def _best(runs, columns):
    """Subject and head of the recorded columns that are shown: of each subject those best on validation images.

    First the best one of the paper's own recipe, of its own profile where there is one; then, of classifiers, the best
    one of each data set and split, whose validation images are others.
    """
    found, where, own = {}, {}, {}
    for run, (subject, head, _) in zip(runs, columns, strict=True):
        rank, heads = on_validation("auc", run), found.setdefault(subject, {})
        heads[head] = max(rank, heads.get(head, rank))
        if run["variant"] == "paper":
            own.setdefault(subject, []).append((run["profile"] == "paper", rank, head))
        if "validation_auc" in run["metrics"]:
            where[subject, head] = run["data"], run.get("split_policy")
    shown = set()
    for subject, heads in found.items():
        ranked, first = sorted(heads, key=heads.get, reverse=True), {}
        for head in ranked:
            if (subject, head) in where:
                first.setdefault(where[subject, head], head)
        kept = [max(own[subject])[-1]] if subject in own else []
        shown |= {(subject, head) for head in list(dict.fromkeys([*kept, *first.values(), *ranked]))[:_MOST]}
    return shown


def on_validation(metric, run):
    """What recorded runs are chosen by, the highest: of equal ones the last; those from before `MENDED` last of all."""
    date, metrics = run.get("date", MENDED), run["metrics"]
    known = metrics.get(f"validation_{metric}") or metrics.get("validation_accuracy") or {"value": 0.0}
    return date >= MENDED, known["value"], date


def _columns(key, prefix, runs):
    """What a table is about, the head of a column, and its numbers: name to (the paper's, ours); of each run."""
    paper = papers.get(key)
    compared = [(run, *paper.report.compare(run)) for run in runs]
    return [
        (subject, f"{prefix}: {_conditions(run, numbers, paper.config.Config)}", numbers)
        for run, subject, numbers in compared
    ]


def _columns_here(text):
    """The columns `here` of a text that `beside` made, as `_columns` gives them."""
    columns = []
    for table in text.split("\n\n"):
        lines = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
        (subject, _, *heads), *rows = ([cell.strip() for cell in line] for line in lines or [["", ""]])
        for place, head in enumerate(heads, 2):
            if head.startswith("here: "):
                numbers = {row[0]: (row[1], row[place]) for row in rows[1:] if row[place]}
                columns.append((subject, head, numbers))
    return columns


def _table(subject, rows, columns):
    lines = [
        [name, reported, *(column.get(name, "") for column in columns.values())]
        for name, reported in rows.items()
    ]
    return markdown([subject, "paper", *columns], lines)


def _conditions(run, numbers, config_class):
    """The head of a run's column: all that tells runs of one subject apart."""
    parts = [
        run["data"],
        *([run["part"]] if "part" in run else []),
        f"{run['split_policy']} split",
        run["profile"],
    ]
    in_rows = all(name.startswith(f"{run['variant']}: ") for name in numbers)  # there variants are arms
    if not in_rows and run["variant"] != "paper":
        parts.append(run["variant"])
    if "image_size" in run:
        parts.append(f"{run['image_size']} pixels")
    if "epochs" in run:
        parts.append(counted(run["epochs"], "epoch"))
    if "unit_steps" in run:
        parts.append(f"{run['unit_steps']:,} steps of UNIT")
    parts += results.others(run, config_class)
    return ", ".join([*parts, *(["*before the mend*"] if run.get("date", MENDED) < MENDED else [])])
