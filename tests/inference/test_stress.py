"""What classifiers that read a known place lose under each change."""

import json
import re
import types

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from keras_fracture import cli, inference, models, serving
from keras_fracture.data import Preprocess, decoding
from keras_fracture.inference import scoring, stress
from keras_fracture.report import stress as report

SIDE = 64


class Drawn:
    """Records of a body with a bright spot in findings, and a marker in the corner of most of them."""

    def __init__(self, boxes=True, invert=False):
        rng = np.random.default_rng(0)
        self.images, rows = [], []
        for number in range(48):
            label = number % 2
            image = rng.normal(10, 2, (SIDE, SIDE))
            image[16:, 16:48] = rng.normal(100, 3, (48, 32))
            top, left = rng.integers((20, 18), (56, 42))
            if label:
                image[top : top + 4, left : left + 4] = 220
            if label and number > 4:
                image[4:7, 5:8] = 255
            image = np.clip(image, 0, 255).astype(np.uint8)
            self.images.append(255 - image if invert else image)
            box = np.array([[top, left, top + 4, left + 4]], np.float32) / SIDE
            rows.append(
                {
                    "filename": f"{number}.png", "source": f"s{number}", "body_part": ("hand", "leg")[number // 2 % 2],
                    "label": label, "boxes": box if label and boxes else np.zeros((0, 4), np.float32),
                    "hardware": number in (1, 3), "height": SIDE, "width": SIDE,
                }
            )  # fmt: skip
        self.table = pd.DataFrame(rows)

    def __len__(self):
        return len(self.images)

    def raw(self, fields):
        columns = {name: self.table[name].to_numpy() for name in fields if name not in ("image", "label")}
        data = {name: np.array(values, "S") for name, values in columns.items()}
        data["image"] = np.array([decoding.encode_png(image) for image in self.images], object)
        data |= {"label": self.table["label"].to_numpy()} if "label" in fields else {}
        return tf.data.Dataset.from_tensor_slices(data)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Two SavedModels whose preprocessing leaves the drawn images as they are, or turns them."""
    folder = tmp_path_factory.mktemp("stressed")
    for invert in (False, True):
        serving.export(
            models.create("compact_cnn", image_size=SIDE), folder / str(invert),
            preprocess=Preprocess(size=SIDE, invert=invert), metadata={"classes": ["finding"]},
        )  # fmt: skip
    return folder


READERS = {
    "the finding": lambda images: images[:, 16:, 16:48].max((1, 2)),
    "the marker": lambda images: images[:, :12, :12].max((1, 2)),
}


def examined(model, records, monkeypatch, reads):
    """`examine` with a network that reads one place; rows by their change, and the rest."""

    def serve(images):
        images = images.numpy()[..., 0]
        low, high = images.min(), images.max()
        return {"probabilities": tf.constant(READERS[reads](images)[:, None] / max(high, 1) - min(low, 0))}

    monkeypatch.setattr(
        scoring, "loaded", lambda _: types.SimpleNamespace(signatures={"serving_default": serve})
    )
    result = stress.examine(model, records, inference.evaluate(model, records))
    return {row["change"]: row for row in result["rows"]}, result


@pytest.fixture(scope="module")
def reads_finding(exported):
    with pytest.MonkeyPatch.context() as patch:
        return examined(exported / "False", Drawn(), patch, "the finding")


def test_who_reads_the_finding_loses_it_where_it_is_hidden_and_not_where_as_much_is_hidden_elsewhere(
    reads_finding,
):
    rows, result = reads_finding
    assert rows["untouched"]["auc"]["value"] == 1
    hidden, elsewhere = (rows[name] for name in stress.FILLED)
    assert hidden["auc"]["value"] < 0.8 and hidden["difference"]["high"] < -0.1
    assert elsewhere["auc"]["value"] > 0.98 and hidden["less_elsewhere"]["high"] < -0.1
    assert rows[stress.DOUBLED[0]]["auc"]["value"] < 0.8 < rows[stress.DOUBLED[1]]["auc"]["value"]
    assert rows["only the border"]["auc"]["value"] < 0.8
    assert rows["letters painted over"]["auc"]["value"] == 1
    assert report.verdict(result).startswith("Reads the finding")


def test_a_model_that_turns_its_images_is_asked_about_the_same_changes(exported, monkeypatch, reads_finding):
    rows, _ = examined(exported / "True", Drawn(invert=True), monkeypatch, "the finding")
    assert rows == reads_finding[0]


def test_who_reads_a_marker_loses_it_where_that_is_painted_over_alone(exported, monkeypatch):
    rows, result = examined(exported / "False", Drawn(), monkeypatch, "the marker")
    assert rows["untouched"]["auc"]["value"] > 0.9
    assert abs(rows["finding hidden"]["difference"]["value"]) < 0.02
    painted = rows["letters painted over"]
    assert (
        painted["changed"] == 22 and painted["auc"]["value"] < 0.75 and painted["difference"]["high"] < -0.1
    )
    assert report.verdict(result).startswith("Reads something else than the finding")


def test_labels_are_kept_and_the_fill_alone_tells_nothing(reads_finding):
    rows, result = reads_finding
    assert [(row["images"], row["findings"]) for row in result["rows"][:-1]] == [(48, 24)] * (len(rows) - 1)
    assert rows["hardware left out"]["images"] == 46 and rows["hardware left out"]["findings"] == 22
    assert rows["hardware left out"]["difference"]["value"] == 0
    # Elsewhere the body is as even in both classes; where the finding was, its brightness is gone.
    assert 0.3 < rows["elsewhere hidden"]["fill_auc"]["value"] < 0.7
    assert rows["finding hidden"]["changed"] == 48, "healthy images are filled as well"
    assert result["pointing"]["images"] == 24 and 0 < result["pointing"]["chance"] < 1


def test_the_boxes_that_are_drawn_depend_on_the_seed_alone(exported):
    records = Drawn()
    seeds = [
        stress._Examination(exported / "False", records, records.table, None, seed) for seed in (0, 0, 1)
    ]
    for elsewhere in (False, True):
        one, again, other = (
            [each.hide(records.images[at], at, elsewhere, 1) for at in (0, 2)] for each in seeds
        )
        assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert np.array_equal(*(each.hide(records.images[7], 7, False, 1) for each in seeds[1:])), "its own box"


def test_findings_without_a_box_and_images_without_room_are_left_out_and_counted(exported, monkeypatch):
    records = Drawn()
    records.table.at[1, "boxes"] = np.array([[1.1, 0.0, 1.2, 0.1]])  # outside
    records.table.at[3, "boxes"] = np.array([[0.1, 0.1, 1.0, 1.0]])
    rows, result = examined(exported / "False", records, monkeypatch, "the finding")
    assert rows["finding hidden"]["findings"] == 23
    assert rows["elsewhere hidden"]["findings"] == 22
    notes = "\n".join(result["notes"])
    assert "without 1 of 24 findings, which have no box" in notes and "no room beside the boxes" in notes


def test_without_boxes_their_rows_are_left_out_in_one_line(exported, monkeypatch):
    rows, result = examined(exported / "False", Drawn(boxes=False), monkeypatch, "the finding")
    assert not set(rows) & {*stress.FILLED, *stress.DOUBLED} and "centre hidden" in rows
    assert [note for note in result["notes"] if "left out, no finding of these images has a box" in note]
    (pointing,) = (note for note in result["notes"] if note.startswith("pointing game"))
    assert pointing.startswith("pointing game: left out, none of the 24 findings in these images has a box")
    assert report.verdict(result) is None and report.heat(result) is None


def test_a_change_gets_each_image_with_its_position(exported, monkeypatch):
    records, seen = Drawn(), {}
    monkeypatch.setattr(scoring, "_BATCH", 7)
    scoring.evaluate(exported / "False", records, change=lambda image, at: seen.setdefault(at, image))
    assert sorted(seen) == list(range(len(records)))
    assert all((image == records.images[at]).all() for at, image in seen.items())


def test_the_command_writes_a_table_and_a_figure(exported, dummy_root, tmp_path, capsys):
    command = ["evaluate", str(exported / "False"), "--data", "kaggle_fracture", "--split", "train"]
    command += ["--data-dir", str(dummy_root), "--stress", "--out", str(tmp_path / "out")]
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert "no finding of these images has a box" in said and re.search(r"only the border +12 ", said)
    content = json.loads((tmp_path / "out/stress.json").read_text())
    assert (content["data"], content["split"], content["split_policy"]) == (
        "kaggle_fracture",
        "train",
        "grouped",
    )
    assert {"command", "date", "machine", "seed", "versions"} <= set(content)
    table = pd.read_csv(tmp_path / "out/stress.csv")
    assert table["change"].tolist() == [row["change"] for row in content["rows"]]
    assert table["auc_low"].tolist() == [row["auc"]["low"] for row in content["rows"]]
    assert (tmp_path / "out/stress.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("further", "words"),
    [
        (["--resume", "--out", "x"], "--resume goes on with the answers"),
        (["--out", "FILE"], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(exported, dummy_root, tmp_path, capsys, further, words):
    (tmp_path / "FILE").touch()
    further = [str(tmp_path / "FILE") if word == "FILE" else word for word in further]
    command = [
        "evaluate",
        str(exported / "False"),
        "--data",
        "kaggle_fracture",
        "--data-dir",
        str(dummy_root),
    ]
    assert cli.main([*command, "--stress", *further]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
