import json

import pytest

from tests.golden import compare


def write(folder, auc, loss, seconds):
    (folder / "a").mkdir(parents=True)
    (folder / "metrics.json").write_text(
        json.dumps({"runs": [{"auc": auc, "seconds": seconds, "model": "m"}]})
    )
    (folder / "a" / "history.csv").write_text(f"epoch,loss,seconds\n1,{loss},{seconds}\n")
    return compare.numbers(folder)


@pytest.mark.parametrize(
    ("auc", "loss", "changed"),
    [
        (0.1, "0.5", []),
        (0.1 + 1e-18, "0.5", []),
        (0.10000000000000002, "0.5", [("metrics.json/runs/0/auc", "0.1", "0.10000000000000002")]),
        (0.1, "0.50", [("a/history.csv/loss/0", "'0.5'", "'0.50'")]),
    ],
)
def test_the_last_digit_counts_and_time_does_not(tmp_path, auc, loss, changed):
    before, after = write(tmp_path / "before", 0.1, "0.5", 3), write(tmp_path / "after", auc, loss, 4)
    assert len(before) == 4 and compare.differences(before, after) == changed


def test_what_is_missing_on_one_side_differs():
    assert compare.differences({"a": "1"}, {"b": "1"}) == [("a", "1", None), ("b", None, "1")]
