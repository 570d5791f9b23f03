"""What a classifier of few X-rays should start from: `python benchmarks/starts.py --data btxrd --images 300`.

A data set that no start has seen plays somebody's own X-rays: EfficientNet-Lite0 learns from a few of its training
images, drawn by X-ray or patient, chooses its threshold on half as many, and is tested on all test images of the
grouped split. Beside it ResNet-18 `tuned`, at its own size and length. Three seeds of each; a run that was stopped
goes on. The table goes to `results/starts.json`.
"""

import argparse
import datetime
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from keras_fracture import evaluation, machine, papers
from keras_fracture.data import split_files
from keras_fracture.files import write_text

CHECKOUT = Path(__file__).resolve().parents[1]
RESULTS = CHECKOUT / "results" / "starts.json"
# Settings of `reproduce lisbon_resnet`; the gain of each start is over `AGAINST`.
STARTS = {
    "ResNet-18, random weights": {
        "variant": "tuned",
        "models": ("resnet18",),
        "image_size": 128,
        "epochs": 40,
    },
    "ImageNet": {"variant": "imagenet"},
    "the network of FracAtlas": {"variant": "imagenet", "pretrained": "efficientnet_lite0_fracatlas"},
}
AGAINST = "ImageNet"


def main(arguments=None, **settings):
    """Measures one number of images and records it; returns the exit code. `settings` are further ones of the runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="btxrd", help="data set (default: btxrd)")
    parser.add_argument("--images", type=int, default=300, help="to learn from (default: 300)")
    parser.add_argument("--epochs", type=int, default=12, help="of each EfficientNet-Lite0 (default: 12)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each start (default: 3)")
    parser.add_argument(
        "--split", type=Path, help="split file (default: the grouped one of the data set in splits/)"
    )
    parser.add_argument(
        "--runs", type=Path, default=CHECKOUT / "runs" / "starts", help="folder of the trainings"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON to write the table into")
    options = parser.parse_args(arguments)
    if min(options.images, options.epochs, options.seeds) < 1:
        parser.error("--images, --epochs and --seeds must be 1 or more")
    split = options.split or CHECKOUT / "splits" / f"{options.data}-grouped.csv.gz"
    named = f"{options.data}, {options.images} images"
    folder = options.runs / named.replace(", ", "-").replace(" ", "-")
    common = {"data": options.data, "epochs": options.epochs, "seeds": options.seeds}
    chosen = few(split_files.read(split).table, options.images)
    few_file = write_text(folder / "split.csv", chosen.to_csv(index=False))
    runs = {name: train(folder, name, few_file, common, settings) for name in STARTS}
    rows = table(runs, chosen)
    config = json.loads((runs[AGAINST] / "config.json").read_text(encoding="utf-8"))
    recorded = json.loads(options.results.read_text(encoding="utf-8")) if options.results.exists() else {}
    recorded[named] = {
        "images": chosen["split"].value_counts().to_dict(),
        "findings": chosen["split"][chosen["label"] == "1"].value_counts().to_dict(),
        "settings": {name: config["settings"][name] for name in ("epochs", "image_size", "seeds", "seed")}
        | {"precision": config["computed_in"]},
        "machine": machine.described(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "rows": rows,
    }
    write_text(options.results, json.dumps(recorded, indent=1) + "\n")
    for row in rows:
        auc, gain = ("{value:.3f} ({low:.3f} to {high:.3f})".format(**row[name]) for name in ("auc", "gain"))
        print(f"{row['start']:<26}AUC {auc}, less that of {AGAINST} {gain}")
    return 0


def few(rows, images, seed=0):
    """A split file's table with about so many training and half as many validation images, and all test images."""
    kept = [rows[rows["split"] == "test"]]
    for split, count in (("train", images), ("validation", images // 2)):
        part = rows[rows["split"] == split]
        sources = np.random.default_rng(seed).permutation(part["source"].unique())
        order = pd.Series(np.arange(len(sources)), sources)[part["source"]].to_numpy()
        part = part.iloc[np.argsort(order, kind="stable")]
        kept.append(part[part["source"].isin(part["source"].iloc[:count])])
    return pd.concat(kept).sort_values("filename")


def train(folder, name, split, common, settings):
    """The run folder of one start."""
    out = folder / name.replace(",", "").replace(" ", "-")
    given = {"image_size": 224, "precision": "auto"} | common | STARTS[name] | settings
    # Also where all is trained: a run of other settings is refused.
    papers.reproduce(
        "lisbon_resnet", splits=str(split), out=out, resume=(out / "config.json").exists(), **given
    )
    return out


def table(runs, rows):
    """A dict for each start: AUC on the test images, that of each seed, and the paired gain."""
    tested = {name: predictions(run, rows) for name, run in runs.items()}
    return [
        {
            "start": name,
            "auc": evaluation.scores(one, ["auc"])["auc"],
            "by_seed": evaluation.by_seed(one, ["auc"])["auc"],
            "gain": evaluation.gains(one, tested[AGAINST], ["auc"])["auc"],
        }
        for name, one in tested.items()
    ]


def predictions(run, rows):
    """The `evaluation.Predictions` that a run wrote of its test images."""
    (path,) = run.glob("file/*/predictions.csv")
    said = pd.read_csv(path, dtype={"filename": str}).pivot_table("probability", "filename", "seed")
    test = rows.set_index("filename").loc[said.index]
    labels, sources = test["label"].to_numpy(int), test["source"].to_numpy(str)
    return evaluation.Predictions(labels, sources, said.to_numpy().T, np.full(said.shape[1], 0.5))


if __name__ == "__main__":
    sys.exit(main())
