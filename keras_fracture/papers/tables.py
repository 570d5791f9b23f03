"""Tables for README, BENCHMARKS, RELIABILITY, docs and notebooks, generated from `results/`.

keras-fracture tables            # rewrite the files between their markers
keras-fracture tables --check    # only say whether they are up to date
"""

import functools
import json
import re
from pathlib import Path

from keras_fracture import files, papers
from keras_fracture.errors import OutputError
from keras_fracture.papers import comparison
from keras_fracture.report import baselines, benchmarks, board, explanations, reliability, results, stress
from keras_fracture.report.markdown import dated, markdown, over_seeds, plain

_WHERE = ("*.md", "docs/*.md", "docs/*/*.md", "serving/*.md")
_TOLD = {  # of a run, and in which words
    "data": "{}", "split_policy": "{} split", "model": "{}", "variant": "variant {}", "profile": "profile {}",
    "image_size": "{} pixels", "epochs": "epochs: {}", "seeds": "seeds: {}",
}  # fmt: skip
# In a notebook's code: which paper's runs stand beside its numbers.
_BESIDE = re.compile(r'comparison\.beside\((?:KEY|"(\w+)")')
_TIMED = re.compile(r'benchmarks\.table\(path, "(\w+)"\)')
_KEY = re.compile(r'^KEY = "(\w+)"', re.M)
_SHOWN = re.compile(r"comparison\.beside\(|benchmarks\.table\(path, ")
_MARK = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.S)


def headlines(folder):
    """The table of all papers: their headline numbers beside ours.

    Args:
        folder: Where `KEY.json` are kept; a paper without one is left out.

    Raises:
        OutputError: A file is not of its form.
    """
    rows = []
    for key, report, runs in _papers(folder):
        for what, metric, where in report.HEADLINES:
            for run in _fitting(runs, where):
                score, reported = run["metrics"][metric], (run["reported"] or {}).get(metric)
                rows.append([
                    f"`{key}`", what.format_map(run), f"{reported:.3f}" if reported else "not given", over_seeds(score),
                    _how_measured(key, run, where),
                ])  # fmt: skip
    return markdown(["key", "measured", "paper", "ours", "how ours was measured"], rows)


def front(folder):
    """README's table: of what each paper is known by, the run that was best on validation images, linked to its page.

    Test images choose nothing. Where a run has no such number, as of a GAN, the newest is shown.

    Args:
        folder: As in `headlines`.

    Raises:
        OutputError: A file is not of its form.
    """
    rows = []
    for key, report, runs in _papers(folder):
        for what, metric, where, level in getattr(report, "FRONT", ()):
            shown = [
                run for run in _fitting(runs, where) if run["profile"] != "smoke"
            ]  # which measures nothing
            for run in sorted(shown, key=functools.partial(comparison.on_validation, metric))[-1:]:
                reported = (run["reported"] or {}).get(metric)
                rows.append([
                    f"[{key}](docs/papers/{key}.md)", what, f"{reported:.2f}" if reported else "",
                    over_seeds(run["metrics"][metric]), _level(run, runs, metric, *level),
                    _how_measured(key, run, where),
                ])  # fmt: skip
    return markdown(["paper", "measured", "paper says", "we measured", "to compare with", "on"], rows)


def _level(run, runs, metric, words, other):
    """What a number of `front` is held against, as a cell.

    Args:
        run: The row.
        runs: All rows of the paper.
        metric: The number's.
        words: What it is.
        other: Another value of the metric, by name; what differs in another row of the same command, as a dict; or
            None, for the strongest baseline.
    """
    if other is None:
        scores = run["baselines"]["scores"]
        value = scores[run["baselines"]["strongest"]["name"]][metric]["value"]
        words += " (one fit)" * baselines.one_fit(run["baselines"])
    elif isinstance(other, str):
        value = run["metrics"][metric][other]
    else:
        same = {
            name: run[name] for name in ("command", "data", "split_policy", "part", "model") if name in run
        }
        beside = _fitting(runs, same | other)
        if not beside:
            return ""
        value = beside[-1]["metrics"][metric]["value"]
    return f"{value:.3f} {words}"


def _papers(folder):
    """Key, report and recorded runs of each paper."""
    for key in papers.names():
        path = Path(folder) / f"{key}.json"
        yield key, papers.get(key).report, _runs(path) if path.is_file() else []


def _fitting(runs, where):
    return [run for run in runs if where.items() <= run.items()]


def _runs(path):
    """The runs of a results file, whose words somebody else may have written."""
    return plain(results.read(path)["runs"])


def _how_measured(key, run, where):
    part = f", {run['part']}" if "part" in run else ""
    named = "variant" in where or run["variant"] == "paper"  # in the second column, or not worth naming
    variant = "" if named else f", variant {run['variant']}"
    pixels = f", {run['image_size']} pixels" if "image_size" in run else ""
    config_class = papers.get(key).config.Config
    # Else a run that was cut short would pass for the profile's whole schedule.
    cut = "".join(f", {one}" for one in results.unusual(run, config_class, "epochs"))
    return (
        f"{run['data']}{part}, {run['split_policy']} split{variant}, profile {run['profile']}{cut}{pixels}, "
        f"seeds: {run['seeds']}{''.join(f', {one}' for one in results.others(run, config_class))}, {dated(run)}"
    )


def _commands(runs):
    """Which command made which rows, a line a command."""
    made = {}
    for run in runs:
        made.setdefault(run["command"], []).append(run)
    return "".join(
        f"- {_made(rows)}: `{command}`{''.join(_by_seed(row, len(rows) > 1) for row in rows)}\n"
        for command, rows in made.items()
    )


def _by_seed(run, several):
    """What each seed of a run reaches, where that was recorded; `several` rows need its name."""
    if "by_seed" not in run:
        return ""
    which = f" of {run['model']}, {run['split_policy']} split" if several else ""
    accuracies = ", ".join(f"{100 * one:.1f}" for one in run["by_seed"]["accuracy"])
    aucs = ", ".join(f"{one:.3f}" for one in run["by_seed"]["auc"])
    return f"; seed by seed{which}: test accuracy {accuracies} %, AUC {aucs}"


def _made(runs):
    """What tells the rows of one command from those of others."""
    parts = []
    for name, words in _TOLD.items():
        values = dict.fromkeys(run[name] for run in runs if name in run)
        arms = name == "variant" and (
            len(values) > 1 or "paper" in values
        )  # arms of a study, or not worth naming
        if values and not arms:
            parts.append(words.format(" and ".join(map(str, values))))
    return ", ".join([*parts, dated(runs[0])])


def generate(folder, key):
    """A table of README, BENCHMARKS, RELIABILITY or docs.

    Args:
        folder: Where `KEY.json` are kept.
        key: A paper's, for its numbers and the commands that made them; "papers" for all papers beside each other,
            "front" for README's choice of them; a name in the `TABLES` of a paper's report; "benchmark_ratios", or
            "benchmark_" and the section of a benchmark; "baselines"; "reliability"; "board", for one table a data
            set; or "stress", for one a model; or "explanations".

    Raises:
        OutputError: There is no such table.
    """
    if key == "benchmark_ratios":
        return benchmarks.ratios(Path(folder) / "benchmark.json")
    if key.startswith("benchmark_"):
        return benchmarks.table(Path(folder) / "benchmark.json", key.removeprefix("benchmark_"))
    if key in ("front", "papers"):
        return front(folder) if key == "front" else headlines(folder)
    if key == "board":
        return board.table(Path(folder) / "board")
    if key == "stress":
        return stress.recorded(Path(folder) / "stress")
    if key == "explanations":
        return explanations.recorded(Path(folder) / "explanations")
    if key == "reliability":
        return reliability.table(Path(folder) / "reliability.json")
    if key == "baselines":
        return baselines.recorded(Path(folder) / "baselines.json")
    if key in papers.names():
        runs = _runs(Path(folder) / f"{key}.json")
        return papers.get(key).report.table(runs) + "\n" + _commands(runs)
    for paper in map(papers.get, papers.names()):
        if table := getattr(paper.report, "TABLES", {}).get(key):
            return table(_runs(Path(folder) / f"{paper.key}.json"))
    raise OutputError(
        "There is no such table: name a paper, papers, front, board, stress, explanations, benchmark_, baselines or "
        f"reliability. Received: {key}"
    )


def having(folder="."):
    """Paths of a checkout's files that have tables: its own Markdown, that of `docs/` and `serving/`, and notebooks.

    Raises:
        OutputError: None has.
    """
    folder = Path(folder)
    paths = [path for pattern in _WHERE for path in sorted(folder.glob(pattern))]
    found = [path for path in paths if _MARK.search(path.read_text(encoding="utf-8"))]
    if not found:
        raise OutputError(
            f"No Markdown file with tables: name some, or start it in a checkout. Received: {folder}/"
        )
    notebooks = sorted(folder.glob("notebooks/*.ipynb"))
    return found + [path for path in notebooks if _SHOWN.search(path.read_text(encoding="utf-8"))]


def update(path="README.md", folder="results", check=False):
    """Rewrites all tables of a file.

    In Markdown they stand between `<!-- table KEY -->` and `<!-- end -->`; in a notebook they are the outputs of
    `comparison.beside`, whose columns of recorded runs are made anew, and of `benchmarks.table`.

    Args:
        path: The file.
        folder: Where `KEY.json` are kept.
        check: Write nothing; only compare.

    Returns:
        Whether the file was up to date.

    Raises:
        OutputError: `check`, and it is not.
    """
    before = Path(path).read_text(encoding="utf-8")
    after = _notebook(before, folder) if Path(path).suffix == ".ipynb" else _markdown(before, folder)
    if before != after:
        if check:
            raise OutputError(f"The tables of {path} are not those of {folder}/: run make tables")
        files.write_text(path, after)
    return before == after


def _markdown(text, folder):
    return _MARK.sub(lambda match: match[1] + generate(folder, match[2]) + match[3], text)


def _notebook(text, folder):
    notebook = json.loads(text)
    own = _KEY.search("\n".join("".join(cell["source"]) for cell in notebook["cells"]))
    for cell in notebook["cells"]:
        called, timed = (words.search("".join(cell["source"])) for words in (_BESIDE, _TIMED))
        for output in cell.get("outputs", ()) if called or timed else ():
            told = "".join(output.get("data", {}).get("text/markdown", ()))
            if told and called:
                fresh = comparison.refreshed(called[1] or own[1], told, folder)
                output["data"]["text/markdown"] = fresh.splitlines(keepends=True)
            elif told:
                fresh = generate(folder, f"benchmark_{timed[1]}")
                output["data"]["text/markdown"] = fresh.splitlines(keepends=True)
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
