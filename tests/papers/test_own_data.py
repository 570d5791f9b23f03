"""A paper on a folder of phantoms gives the numbers that it gives on `phantom`."""

import json

import numpy as np
import pandas as pd
import pytest

from keras_fracture import cli, data, papers
from keras_fracture.data import decoding, splits
from keras_fracture.data.pipeline import Records

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(few_phantoms, tmp_path_factory):
    """The images of `phantom`, with its split as a column of a table."""
    root = tmp_path_factory.mktemp("own") / "hands"
    root.mkdir()
    builder, rows = data.prepare("phantom"), []
    for split in splits.NAMES:
        for record in Records(builder, split).raw().as_numpy_iterator():
            name = record["filename"].decode()
            (root / name).write_bytes(record["image"])
            row = {column: record[column].decode() for column in ("source", "body_part", "view")}
            row |= {"image": name, "diagnosis": "fracture" if record["label"] else "normal", "split": split}
            height, width = decoding.size_of(record["image"])
            for top, left, bottom, right in record["boxes"] if len(record["boxes"]) else [[np.nan] * 4]:
                sides = {
                    "xmin": left * width,
                    "ymin": top * height,
                    "xmax": right * width,
                    "ymax": bottom * height,
                }
                rows.append(row | sides)
    pd.DataFrame(rows).to_csv(root / "labels.csv", index=False)
    return root


def _numbers(run):
    (row,) = json.loads((run / "metrics.json").read_text())["runs"]
    return row["metrics"]


def test_a_classifier_on_a_folder_equals_that_on_phantom(folder, tmp_path, capsys):
    common = {"image_size": 32, "epochs": 1}
    options = {"data": str(folder), "columns": "patient=source"}
    embedded = papers.reproduce(
        "garcia_inception", "smoke", out=tmp_path / "a", overrides=["policies=grouped"], **common
    )
    own = papers.reproduce(
        "garcia_inception", "smoke", out=tmp_path / "b", overrides=["policies=official"], **common, **options
    )
    assert _numbers(own) == _numbers(embedded)
    told = "patients, named by the column 'source'."
    assert any(line.endswith(told) for line in (own / "report.md").read_text().splitlines()[:8])

    repeated = papers.repeat(own, out=tmp_path / "c")
    assert _numbers(repeated) == _numbers(own), "config.json knows how the images were read"

    words = [
        "evaluate",
        str(own),
        "--data",
        str(folder),
        "--columns",
        "patient=source",
        "--policy",
        "official",
    ]
    assert cli.main([*words, "--split", "train"]) == 0
    out = capsys.readouterr().out
    count = data.prepare("phantom").info.splits["train"].num_examples
    assert f"{count:,} of {count:,} images show X-rays that the model was trained or tuned on" in out


def test_gupta_unit_takes_the_body_parts_with_most_boxes(folder, tmp_path):
    run = papers.reproduce(
        "gupta_unit", "smoke", out=tmp_path / "run", data=str(folder), columns="patient=source"
    )
    parts = {row["part"] for row in json.loads((run / "metrics.json").read_text())["runs"]}
    assert len(parts) == 3 and "Patients are told" in (run / "report.md").read_text()
