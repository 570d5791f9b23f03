"""Whether every paper's smoke run gives the same numbers before and after a change, to the last digit.

    python tests/golden/compare.py HEAD~5            # a commit, against the working tree
    python tests/golden/compare.py v0.1.0 HEAD --papers bai_dcgan gupta_unit

Both sides run here, one after the other: other processors round in other ways. What is compared are all numbers and
words of `metrics.json`, and all columns of every `history.csv`, but for times. Ends with 1 where any differ.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from keras_fracture import papers
from keras_fracture.experiment.config import RENAMED
from keras_fracture.report import results

CHECKOUT = Path(__file__).resolve().parents[2]
PAPERS = ("bai_dcgan", "garcia_inception", "gupta_unit", "lisbon_resnet", "ibrahim_gan")
TIMES = {"seconds", "minutes", "hours", "date"}


def leaves(content, path=""):
    """The values of nested dicts and lists by their path, without times; what is no number by its `repr`."""
    if isinstance(content, dict | list):
        pairs = content.items() if isinstance(content, dict) else enumerate(content)
        renamed = RENAMED if path.endswith("/settings") else results.RENAMED
        inner = [
            leaves(value, f"{path}/{renamed.get(name, name)}") for name, value in pairs if name not in TIMES
        ]
        return {where: value for each in inner for where, value in each.items()}
    return {path: repr(results.RENAMED_FIGURES.get(content, content))}


def numbers(folder):
    """All that a run folder holds to compare: path to text."""
    folder = Path(folder)
    kept = leaves(json.loads((folder / "metrics.json").read_text(encoding="utf-8")), "metrics.json")
    for path in sorted(folder.rglob("history.csv")):
        rows = pd.read_csv(path, dtype=str)
        kept |= leaves(rows.to_dict("list"), str(path.relative_to(folder)))
    return kept


def differences(before, after):
    """Paths whose values are not the same, with both; None stands for a value that is missing."""
    later = {name: value for paper in PAPERS for name, value in papers.get(paper).config.Config.ADDED.items()}
    added = leaves(later, "metrics.json/settings")
    before = {path: value for path, value in added.items() if path in after} | before
    paths = sorted(before.keys() | after.keys())
    return [
        (path, before.get(path), after.get(path)) for path in paths if before.get(path) != after.get(path)
    ]


def run(code, paper, out, cache):
    """One smoke run by a checkout's code; returns its numbers."""
    command = [
        sys.executable,
        "-m",
        "keras_fracture.cli",
        "reproduce",
        paper,
        "--profile",
        "smoke",
        "--out",
        str(out),
    ]
    settings = {"PYTHONPATH": str(code), "KERAS_FRACTURE_CACHE": str(cache), "TQDM_DISABLE": "1"}
    done = subprocess.run(command, cwd=code, env=os.environ | settings, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{paper} failed: {done.stderr.strip().splitlines()[-1:]}")
    return numbers(out)


def checked_out(commit, folder):
    """A copy of the repository at a commit; the working tree where there is none."""
    if commit is None:
        return CHECKOUT
    subprocess.run(("git", "clone", "--quiet", "--no-checkout", str(CHECKOUT), str(folder)), check=True)
    subprocess.run(("git", "-C", str(folder), "checkout", "--quiet", "--detach", commit), check=True)
    return folder


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", help="commit")
    parser.add_argument("after", nargs="?", help="commit (default: the working tree)")
    parser.add_argument("--papers", nargs="+", default=PAPERS, metavar="PAPER")
    options = parser.parse_args(arguments)
    other = 0
    with tempfile.TemporaryDirectory(prefix="golden-") as folder:
        folder = Path(folder)
        sides = {side: checked_out(getattr(options, side), folder / side) for side in ("before", "after")}
        for paper in options.papers:
            before, after = (
                run(code, paper, folder / f"{side}-{paper}", folder / f"cache-{side}")
                for side, code in sides.items()
            )
            changed = differences(before, after)
            other += len(changed)
            print(f"{paper}: {len(before)} values, {len(changed)} differ", flush=True)
            for path, *values in changed[:5]:
                print(f"  {path}: {values[0]} -> {values[1]}")
    return int(other > 0)


if __name__ == "__main__":
    sys.exit(main())
