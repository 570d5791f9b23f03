"""The sentence, the figure and the table of stress tests."""

import json

import pytest

from keras_fracture.errors import OutputError
from keras_fracture.report import stress
from tests.drawings import assert_drawn


def score(value, reach=0.04):
    return {"value": value, "low": value - reach, "high": value + reach}


def result(untouched, hidden, less_elsewhere):
    row = {"images": 40, "findings": 20, "changed": 40}
    rows = [{"change": "untouched", "auc": score(untouched)} | row]
    rows.append(
        {"change": "finding hidden", "auc": score(hidden), "difference": score(hidden - untouched)} | row
    )
    rows[-1] |= {"less_elsewhere": less_elsewhere, "fill_auc": score(0.5)}
    pointing = score(0.15) | {"chance": 0.046, "chance_of_others": 0.13, "images": 20}
    return {"rows": rows, "pointing": pointing, "notes": ["a note"], "seed": 0}


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((0.87, 0.86, score(0.0)), "Reads something else than the finding"),
        # A quarter of 0.37 is 0.0925, the interval reaches 0.04 to both sides.
        (
            (0.87, 0.8176, score(-0.1)),
            "Reads something else than the finding, which may be hidden at a loss of less than 0.09",
        ),
        (
            (0.87, 0.8174, score(-0.1)),
            "Whether it reads the finding cannot be told: with it hidden the loss may be less",
        ),
        ((0.87, 0.7701, score(-0.1)), "Whether it reads the finding cannot be told"),
        ((0.87, 0.7376, score(-0.1)), "Whether it reads the finding cannot be told"),
        ((0.87, 0.7374, score(-0.1)), "Reads the finding: with it hidden it loses at least 0.09"),
        (
            (0.87, 0.70, score(-0.02)),
            "Loses at least 0.092, a quarter of what its AUC is above 0.5, with the finding",
        ),
        ((0.62, 0.54, score(-0.1)), "Reads the finding: with it hidden it loses at least 0.030"),
        ((0.57, 0.50, score(-0.1)), "Nothing to lose"),
    ],
)
def test_the_sentence_says_no_more_than_the_numbers(numbers, words):
    assert stress.verdict(result(*numbers)).startswith(words)


def test_few_xrays_tell_nothing():
    found = result(0.87, 0.6, score(-0.2))
    found["rows"][1]["sources"] = 4
    assert stress.verdict(found).startswith(
        "Whether it reads the finding: too few X-rays to tell (finding hidden"
    )
    found["rows"][1]["sources"] = 5
    assert stress.verdict(found).startswith("Reads the finding")


def test_the_page_holds_what_was_written(tmp_path):
    facts = {
        "model": "net",
        "data": "fracatlas",
        "split": "test",
        "split_policy": "grouped",
        "date": "2026-01-01",
    }
    facts |= {"command": "keras-fracture evaluate net", "machine": "x86_64, Linux"}
    folder = stress.write(tmp_path / "net", result(0.87, 0.86, score(0.0)), facts)
    assert_drawn(folder / "stress.png")
    page = stress.recorded(tmp_path)
    assert "| finding hidden | 40 | 0.860 (0.820 to 0.900) | -0.010 (-0.050 to +0.030) |" in page
    assert "15.0 (11.0 to 19.0) % of 20 images, a random point in 4.6 %" in page
    assert "results/stress/net/stress.png" in page and "a note" in page and "**Reads something else" in page


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"rows": [{}]})])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "net").mkdir()
    (tmp_path / "net/stress.json").write_text(content)
    with pytest.raises(OutputError, match=r"net.stress\.json holds no stress test"):
        stress.recorded(tmp_path)
