"""How far views of one patient tell the test images of FracAtlas: `python benchmarks/studies.py`.

There are no patient numbers, but files are numbered study by study, see `datasets/fracatlas/layout.py`. Measured is,
for the splits `grouped` and `studies`, how many studies are divided; how well the labels of the two nearest file
numbers among training and validation images tell a test image's, no image being looked at; the AUC of the
submissions in `results/board/` on the `grouped` test images with and without a study that training or validation
images share. The numbers go to `results/studies.json`.
"""

import argparse
import datetime
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from keras_fracture import evaluation
from keras_fracture.data import catalogue, splits
from keras_fracture.data.datasets.fracatlas import layout
from keras_fracture.files import write_text

CHECKOUT = Path(__file__).resolve().parents[1]
SEEDS = 8  # of dealings of the images


def main(arguments=None):
    """Measures and records; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", help="where real data lie (default: KERAS_FRACTURE_DATA)")
    parser.add_argument("--board", type=Path, default=CHECKOUT / "results" / "board", help="submissions")
    parser.add_argument(
        "--results", type=Path, default=CHECKOUT / "results" / "studies.json", help="JSON to write"
    )
    options = parser.parse_args(arguments)
    _, root = catalogue.find("fracatlas", options.data_dir)
    table = catalogue.usable(catalogue.measured("fracatlas", layout, root).table)
    found = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "images": len(table),
        "studies": int(table["study"].nunique()),
        "splits": {policy: of_split(table, policy) for policy in ("grouped", "studies")},
        "board": of_board(table, options.board),
    }
    write_text(options.results, json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 0


def of_split(table, policy):
    """Counts of a policy's split, and what a look-up of file numbers reaches on it and on those of other seeds."""
    sides = [splits.assign(table, policy, layout.SHARES, seed, "fracatlas") for seed in range(SEEDS)]
    dealt = table.assign(side=sides[0])
    return {
        "images": dealt["side"].value_counts().to_dict(),
        "findings": dealt.groupby("side")["label"].sum().to_dict(),
        "divided_studies": int((dealt.groupby("study")["side"].nunique() > 1).sum()),
        "test_findings_with_a_view_elsewhere": int((_shared(table, sides[0]) & (table["label"] == 1)).sum()),
        "look_up_auc": [look_up(table, side) for side in sides],
    }


def look_up(table, side):
    """Test AUC of the mean label of the two nearest file numbers among the other images."""
    number = table["filename"].str.extract(r"(\d+)\.", expand=False).astype(int).to_numpy()
    label, test = table["label"].to_numpy(), side == "test"
    away = np.abs(number[test][:, None] - number[~test])
    nearest = np.argsort(away, axis=1, kind="stable")[:, :2]
    return float(roc_auc_score(label[test], label[~test][nearest].mean(axis=1)))


def of_board(table, folder):
    """AUC of each submission on `grouped` test images: of all, with a study that other images share, and without.

    Intervals are those of studies, not of X-rays.
    """
    side = splits.assign(table, "grouped", layout.SHARES, 0, "fracatlas")
    facts = table[["filename"]].assign(study=splits.joined_studies(table), shared=_shared(table, side))
    rows = {}
    for path in sorted(folder.glob("*.csv")):
        entry = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        if (entry["data"], entry["split_policy"]) != ("fracatlas", "grouped"):
            continue
        answers = _answers(path, facts)
        rows[path.stem] = {
            name: _auc(answers[which])
            for name, which in (
                ("all", answers["shared"].notna()),
                ("with a view elsewhere", answers["shared"]),
                ("without", ~answers["shared"]),
            )
        }
    return rows


def _shared(table, side):
    """Which test images have another image of their study in training or validation, bool."""
    others = set(table["study"][side != "test"])
    return (side == "test") & table["study"].isin(others)


def _answers(path, facts):
    return pd.read_csv(path).merge(facts, on="filename").sort_values(["seed", "filename"])


def _auc(answers):
    seeds = answers["seed"].nunique()
    first = answers.iloc[: len(answers) // seeds]
    counts = {
        "images": len(first),
        "findings": int(first["label"].sum()),
        "studies": int(first["study"].nunique()),
    }
    if first["label"].nunique() < 2:
        return counts
    predictions = evaluation.Predictions(
        labels=first["label"].to_numpy(),
        probabilities=answers["probability"].to_numpy().reshape(seeds, -1),
        sources=first["study"].to_numpy().astype(str),
    )
    return counts | evaluation.scores(predictions, ("auc",))["auc"]


if __name__ == "__main__":
    sys.exit(main())
