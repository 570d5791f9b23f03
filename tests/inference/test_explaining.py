"""How often heat maps of a network that reads a known place lie on the finding."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import cli, inference, models, serving
from keras_fracture.data import Preprocess
from keras_fracture.errors import EvaluationError, OutputError
from keras_fracture.inference import explaining, scoring
from keras_fracture.report import explanations as report
from tests.inference.test_stress import SIDE, Drawn


class Bright:
    """Its maps are how bright the body, or the marker's corner, is beyond the usual; their mean is the evidence."""

    pixel_range, include_top = (0.0, 1.0), True

    def __init__(self, corner=False):
        self.seen = np.zeros((1, SIDE, SIDE, 1), "float32")
        self.seen[:, slice(12) if corner else slice(16, SIDE), slice(12) if corner else slice(16, 48)] = 1

    def features(self, images):
        return tf.nn.relu(tf.convert_to_tensor(images)[..., :1] - 0.6) * self.seen

    def classify(self, maps):
        return 300 * tf.reduce_mean(maps, (1, 2)) - 0.5

    def __call__(self, images, training=False):
        return self.classify(self.features(images))


class FindingFirst(Bright):
    """Has a logit of each class, the finding's before that of healthy."""

    def classify(self, maps):
        evidence = super().classify(maps)
        return tf.concat([evidence, -evidence], axis=1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    for crop in (False, True):
        network = models.create("compact_cnn", image_size=SIDE)
        metadata = {"classes": ["finding"]}
        serving.export(
            network, folder / str(crop), preprocess=Preprocess(size=SIDE, crop=crop), metadata=metadata
        )
    network = models.create("compact_cnn", image_size=SIDE, num_classes=2)
    metadata = {"classes": ["finding", "healthy"]}
    serving.export(network, folder / "first", preprocess=Preprocess(size=SIDE), metadata=metadata)
    return folder


def measured(exported, monkeypatch, network, name="False"):
    records = Drawn()
    monkeypatch.setattr(explaining.loading, "as_saved", lambda _: network)
    return explaining.measure(exported / name, records, inference.evaluate(exported / name, records))


def test_heat_of_a_network_that_reads_findings_lies_on_them_by_every_method(exported, monkeypatch):
    result = measured(exported, monkeypatch, Bright())
    assert (result["images"], result["side"]) == (24, SIDE)
    rows = {row["method"]: row for row in result["rows"]}
    assert list(rows) == ["Grad-CAM", "Grad-CAM++", "occlusion, 7 x 7", "occlusion, 14 x 14"]
    for row in rows.values():
        assert row["pointing"]["value"] > 0.8 and row["pointing"]["low"] > row["pointing"]["chance_of_others"]
        assert row["overlap"]["low"] > row["overlap"]["chance"]
    # The spot is 4 pixels wide, 7 x 7 squares are 18: what they cover cannot fit it.
    assert rows["Grad-CAM"]["overlap"]["value"] > 2 * rows["occlusion, 7 x 7"]["overlap"]["value"]
    alone = explaining.pointing(exported / "False", Drawn(), inference.evaluate(exported / "False", Drawn()))
    assert alone.pop("images") == 24 and alone.items() <= rows["Grad-CAM"]["pointing"].items()


def test_a_finding_that_is_the_first_class_is_explained_as_one_that_is_the_only(exported, monkeypatch):
    only, first = Bright(), FindingFirst()
    rows = measured(exported, monkeypatch, only)["rows"]
    others = measured(exported, monkeypatch, first, "first")["rows"]
    for one, other in zip(rows, others, strict=True):
        assert other["pointing"]["value"] == pytest.approx(one["pointing"]["value"]), one["method"]
        assert other["without"] == one["without"]
    table = inference.evaluate(exported / "first", Drawn())
    alone = explaining.pointing(exported / "first", Drawn(), table)
    assert alone.pop("images") == 24 and alone.items() <= others[0]["pointing"].items()


def test_of_a_network_that_reads_a_marker_no_method_points_at_findings(exported, monkeypatch):
    result = measured(exported, monkeypatch, Bright(corner=True))
    for row in result["rows"]:
        assert row["pointing"]["value"] == 0 and row["overlap"]["value"] == 0
        assert row["without"] == 2, "the findings without a marker have no heat"


def test_models_that_crop_and_images_without_boxes_are_refused(exported):
    for name, records, reason in (
        ("True", Drawn(), "crops its images"),
        ("False", Drawn(boxes=False), "none of the 24 findings in these images has a box .*YOLO files"),
    ):
        table = inference.evaluate(exported / name, records)
        with pytest.raises(EvaluationError, match=reason):
            explaining.measure(exported / name, records, table)


def test_what_is_missing_is_told_apart():
    table = Drawn().table
    assert explaining.missing_boxes(table) is None
    first, second = explaining.with_boxes(table).index[:2]
    one = table.drop(explaining.with_boxes(table).index[1:])
    assert explaining.missing_boxes(one, "the test split") == (
        "it takes those of two X-rays, and 1 of 1 finding in the test split has a box"
    )
    same = table.loc[[first, second]].assign(source="the same")
    assert explaining.missing_boxes(same).endswith(
        "2 of 2 findings in these images have a box, all of one X-ray"
    )


def test_explanations_without_boxes_are_refused_before_the_model_is_asked(
    exported, dummy_root, monkeypatch, capsys
):
    monkeypatch.setattr(scoring, "evaluate", None)
    command = ["evaluate", str(exported / "False"), "--data", "kaggle_fracture", "--split", "train"]
    assert cli.main([*command, "--data-dir", str(dummy_root), "--explanations"]) == 2
    said = capsys.readouterr()
    assert re.search(
        r"--explanations compares heat maps with boxes of findings: none of the \d+ findings in kaggle_fracture's "
        r"train split has a box \(columns xmin, ymin, xmax, ymax; VOC, COCO or YOLO files\)\. Received",
        said.err,
    )
    assert said.out == "" and said.err.strip().count("\n") == 0


def test_the_table_says_what_is_beyond_chance(exported, monkeypatch, tmp_path):
    facts = {
        "data": "drawn",
        "split": "test",
        "split_policy": "grouped",
        "command": "x",
        "machine": "y",
        "date": "z",
    }
    for name, corner, auc in (("good", False, 0.9), ("bad", True, 0.8)):
        result = measured(exported, monkeypatch, Bright(corner)) | {"auc": {"value": auc}}
        report.write(tmp_path / name, result, facts | {"model": name})
    rows = [line.split(" | ") for line in report.recorded(tmp_path).splitlines() if line.startswith("| ")][2:]
    assert [row[0][2:6] for row in rows] == ["good"] * 4 + ["bad "] * 4, "the higher AUC first"
    assert [row[5] for row in rows] == ["yes"] * 4 + ["not shown"] * 4
    assert {row[2] for row in rows[4:]} == {"0.0 (0.0 to 14.2)"}, "24 X-rays without a hit prove little"
    assert "24 images with a box" in report.lines(result)[0]
    (tmp_path / "bad" / "explanations.json").write_text(json.dumps(facts))
    with pytest.raises(OutputError, match="holds no measured explanations"):
        report.recorded(tmp_path)


def test_the_command_prints_a_line_a_method_and_writes_what_it_found(exported, dummy_root, tmp_path, capsys):
    command = ["evaluate", str(exported / "False"), "--data", "fracatlas", "--split", "train"]
    command += ["--data-dir", str(dummy_root), "--explanations", "--out", str(tmp_path / "out")]
    assert cli.main(command) == 0
    said = capsys.readouterr().out.splitlines()
    content = json.loads((tmp_path / "out/explanations.json").read_text())
    assert (content["data"], content["split"], content["side"]) == ("fracatlas", "train", SIDE)
    assert {"command", "date", "machine", "versions", "auc"} <= set(content)
    for row in content["rows"]:
        assert any(line.startswith(row["method"]) for line in said)
    assert report.recorded(tmp_path).count("explained") == 0 and "fracatlas, 64 px" in report.recorded(
        tmp_path
    )
