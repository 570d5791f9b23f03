"""Anybody's predictions: what is read, what is refused, how two are compared."""

import re

import numpy as np
import pandas as pd
import pytest
import scipy
from sklearn.metrics import roc_auc_score

from keras_fracture.errors import EvaluationError
from keras_fracture.evaluation import scorer

TEST = pd.DataFrame(
    {
        "filename": [f"val/{label}/{number}.png" for label in ("a", "b") for number in range(4)],
        "source": [f"s{number}" for number in range(8)],
        "label": [0, 0, 0, 0, 1, 1, 1, 1],
    }
)
FURTHER = {"train/a/9.png": "train", "train/b/7.png": "validation"}
SAID = np.array([0.1, 0.2, 0.6, 0.3, 0.7, 0.4, 0.9, 0.8])


def table(**columns):
    return pd.DataFrame({"filename": TEST["filename"]} | (columns or {"probability": SAID}))


def predictions(tmp_path, rows, threshold=0.5):
    path = tmp_path / "said.csv"
    path.write_text(rows if isinstance(rows, str) else rows.to_csv(index=False))
    return scorer.predictions(path, "hands", TEST, FURTHER, threshold)


def changed(row, **values):
    rows = table().astype(object)
    for column, value in values.items():
        rows.loc[row, column] = value
    return rows


def test_probabilities_logits_and_both_classes_are_the_same(tmp_path):
    logits = scipy.special.logit(SAID)
    for rows in (
        table(),
        table(logit=logits),
        table(finding=SAID, healthy=1 - SAID),
        table(probability=SAID).sample(frac=1, random_state=1),
        table(probability=SAID, label=TEST["label"], remark="kept by its author"),
        table(probability=SAID, verdict="finding", healthy=0.3, finding=0.4, implant=0.3),  # of `predict`
    ):
        one = predictions(tmp_path, rows, 0.25)
        np.testing.assert_allclose(one.probabilities, SAID[None], rtol=0, atol=1e-15)
        assert (
            one.labels.tolist() == TEST["label"].tolist() and one.sources.tolist() == TEST["source"].tolist()
        )
        assert one.threshold == 0.25


@pytest.mark.parametrize("sep", [";", "\t"])
@pytest.mark.parametrize("names", ["file", "image", "filename"])
def test_a_table_of_a_spreadsheet_with_decimal_commas_is_read(tmp_path, sep, names):
    rows = table(healthy=1 - SAID, finding=SAID, image="of no use").rename(columns={"filename": names})
    rows = rows.loc[:, ~rows.columns.duplicated()]
    rows.to_csv(tmp_path / "said.csv", sep=sep, decimal=",", index=False)
    one = scorer.predictions(tmp_path / "said.csv", "hands", TEST, FURTHER)
    np.testing.assert_allclose(one.probabilities, SAID[None], rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    "names", [("0.0", "1.0"), ("healthy", "fracture"), ("No Finding", "Oblique"), ("normal", " finding ")]
)
def test_labels_by_their_names_are_those_of_the_data_set(tmp_path, names):
    test = TEST.assign(finding=["none"] * 4 + ["oblique", "spiral", "spiral", "oblique"])
    said = [names[label] for label in TEST["label"]]
    said = [
        name if name != "Oblique" else finding for name, finding in zip(said, test["finding"], strict=True)
    ]
    table(probability=SAID, label=said).to_csv(tmp_path / "said.csv", index=False)
    scorer.predictions(tmp_path / "said.csv", "hands", test, FURTHER)
    table(probability=SAID, label=said[::-1]).to_csv(tmp_path / "said.csv", index=False)
    with pytest.raises(EvaluationError, match=r"or by name \(oblique, spiral\), or none\. Received: "):
        scorer.predictions(tmp_path / "said.csv", "hands", test, FURTHER)


def test_near_one_both_classes_tell_more_than_one(tmp_path):
    healthy = np.array([1, 1, 1, 1, 4e-9, 3e-9, 2e-9, 1e-9])
    one = predictions(tmp_path, table(finding=1 - np.round(healthy), healthy=healthy))
    assert (np.diff(one.probabilities[0, 4:]) > 0).all()


def test_seeds_are_runs_in_their_order(tmp_path):
    rows = pd.concat([table(probability=SAID / seed, seed=seed) for seed in (10, 9, 2)])
    one = predictions(tmp_path, rows)
    np.testing.assert_array_equal(one.probabilities, [SAID / 2, SAID / 9, SAID / 10])


@pytest.mark.parametrize(
    "names",
    [
        lambda name: f"/somewhere/hands/{name}",
        lambda name: f"./{name}",
        lambda name: name.replace("/", "\\"),
        lambda name: name.removeprefix("val/"),
        lambda name: name.removesuffix(".png"),
        lambda name: f"C:\\hands\\{name}".removesuffix(".png"),
        lambda name: name.removeprefix("val/").removesuffix(".png"),
    ],
)
def test_names_may_have_more_folders_or_fewer(tmp_path, names):
    one = predictions(tmp_path, table().assign(filename=TEST["filename"].map(names)))
    np.testing.assert_array_equal(one.probabilities, SAID[None])


def test_a_name_without_ending_means_the_image_of_this_name_before_that_of_another(tmp_path):
    test = TEST.assign(filename=[name.removesuffix(".png") for name in TEST["filename"]])
    table().assign(filename=test["filename"]).to_csv(tmp_path / "said.csv", index=False)
    further = dict.fromkeys(TEST["filename"], "train")
    one = scorer.predictions(tmp_path / "said.csv", "hands", test, further)
    np.testing.assert_array_equal(one.probabilities, SAID[None])
    with pytest.raises(
        EvaluationError, match="a name that 2 images of hands have: write its folders and ending"
    ):
        scorer.predictions(tmp_path / "said.csv", "hands", TEST, {"val/a/0.jpg": "train"})


@pytest.mark.parametrize("end", [";\n;\n", ";\n\n ; \n;"])
def test_blank_rows_at_the_end_of_a_spreadsheet_are_none(tmp_path, end):
    text = table().to_csv(index=False, sep=";")
    np.testing.assert_array_equal(predictions(tmp_path, text + end).probabilities, SAID[None])
    first, rest = text.split("\n", 1)
    with pytest.raises(EvaluationError, match="Received: '' of '' in row 2"):
        predictions(tmp_path, f"{first}\n;\n{rest}{end}")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("", "no table that can be read"),
        ("filename,probability\n", "no row"),
        (table().drop(columns="probability"), "must have the column filename, and either"),
        (table().assign(logit=0.0), "must have the column filename, and either"),
        (table().rename(columns={"filename": "\x1b[31m"}), r"must have .*x1b\[31m"),
        (pd.concat([table(), table()[:1]]), "once a seed. Received: 'val/a/0.png' twice, seed '0'"),
        (
            table()[:-1],
            "name all 8 test images of hands. Received: 1 missing, seed '0', the first is 'val/b/3.png'",
        ),
        (pd.concat([table().assign(seed=0), table()[1:].assign(seed=1)]), "1 missing, seed '1'.*val/a/0.png"),
        (
            changed(0, filename="train/a/9.png"),
            "test split of hands alone.*'train/a/9.png', which is in train",
        ),
        (changed(0, filename="7.png"), "'train/b/7.png', which is in validation"),
        (changed(0, filename="val/a/none.png"), "not among those of hands.*'val/a/none.png'"),
        (changed(0, filename="val/b/9.png"), "not among those of hands.*'val/b/9.png'"),
        (changed(0, filename="\x1b[2J"), r"not among those of hands.*'\\x1b\[2J'"),
        (changed(0, filename=""), "not among those of hands"),
        (changed(0, filename="0.png"), "a name that 2 images of hands have: write its folders and ending"),
        (changed(3, probability="nan"), "a number from 0 to 1.*'nan' of 'val/a/3.png' in row 5, and 0 more"),
        (changed(3, probability=""), "a number from 0 to 1 .*Received: '' of"),
        (changed(3, probability=1.0001), "a number from 0 to 1 .*1.0001"),
        (changed(3, probability=-0.1), "a number from 0 to 1 "),
        (changed(3, probability="0,8"), "each row: write decimal points, all .*'0,8' of"),
        (table(probability=100 * SAID), r"each row: divide percentages by 100, .*'10\.0' of"),
        (
            changed(3, probability="30%"),
            "each row: divide percentages by 100, and leave the sign out.*'30%' of",
        ),
        (table(probability=scipy.special.logit(SAID)), "each row: if they are logits, call the column logit"),
        (changed(3, probability="0,3").to_csv(index=False, sep=";"), "decimal points, all of them.*'0,3' of"),
        (
            table(probability=SAID, label=["fracture", "healthy"] * 4),
            "labels as.*'fracture' of.*, and 3 more",
        ),
        (table(probability=SAID, label="who knows"), "0 healthy and 1 a finding, or none.*and 7 more"),
        (changed(3, probability="high"), "a number from 0 to 1 .*'high'"),
        (table(logit=[*SAID[:7], np.inf]), "a finite number as logit"),
        (table(finding=SAID, healthy=SAID), "that sum to 1. Received: 0.1 and 0.1"),
        (table(probability=SAID, label=1 - TEST["label"]), "labels as the data set does.*'1' of.*and 7 more"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(tmp_path, rows, words):
    with pytest.raises(EvaluationError, match=words) as raised:
        predictions(tmp_path, rows)
    assert "\n" not in str(raised.value) and str(raised.value).isprintable()
    assert re.search("Received: ", str(raised.value))


def test_a_test_split_of_one_class_is_refused(tmp_path):
    (tmp_path / "said.csv").write_text(table()[4:].to_csv(index=False))
    with pytest.raises(EvaluationError, match="must hold both classes"):
        scorer.predictions(tmp_path / "said.csv", "hands", TEST[4:], FURTHER)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(EvaluationError, match=r"^There is no such file\. Received: .*nothing\.csv$"):
        scorer.read(tmp_path / "nothing.csv")


def test_hard_labels_are_warned_of_by_their_number(tmp_path, caplog):
    predictions(tmp_path, table(probability=0.5))
    assert (
        "All 8 predictions have only 1 distinct value; AUC and other ranking metrics treat them"
        in caplog.text
    )


def test_logits_that_count_as_equal_are_warned_of(tmp_path, caplog):
    predictions(tmp_path, table(logit=[-3, -2, -1, 0, 40, 41, 42, 5]))
    assert "2 logits are so far from 0" in caplog.text
    caplog.clear()
    predictions(tmp_path, table(logit=[-3, -2, -1, 0, 20, 20.000001, 2, 2]))
    assert not caplog.text


def test_differences_are_paired_and_one_seed_stands_beside_several(tmp_path):
    rng = np.random.default_rng(0)
    ours = pd.concat(
        [table(probability=np.clip(SAID + rng.normal(0, 0.2, 8), 0, 1), seed=k) for k in range(3)]
    )
    three, one = predictions(tmp_path, ours), predictions(tmp_path, table())
    found = scorer.difference(three, one, ["auc"])["auc"]
    each = [roc_auc_score(TEST["label"], row) for row in three.probabilities]
    assert found["value"] == pytest.approx(np.mean(each) - roc_auc_score(TEST["label"], SAID), abs=1e-12)
    assert found["low"] <= found["value"] <= found["high"]
    same = scorer.difference(three, three, ["auc"])["auc"]
    assert same == {"value": 0, "low": 0, "high": 0}, "paired: each against itself"
    two = predictions(tmp_path, ours[ours["seed"] < 2])
    other = scorer.difference(three, two, ["auc"])["auc"]
    assert other["value"] == pytest.approx(np.mean(each) - np.mean(each[:2]), abs=1e-12)
    assert other["low"] < 0 < other["high"], "seeds of their own, not the same two"


def test_what_is_written_is_read(tmp_path):
    rng = np.random.default_rng(1)
    rows = pd.concat([table(probability=rng.random(8), seed=k) for k in range(2)])
    one = predictions(tmp_path, rows)
    again = predictions(tmp_path, scorer.text(one, TEST["filename"]))
    np.testing.assert_array_equal(again.probabilities, one.probabilities)
