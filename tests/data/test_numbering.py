import numpy as np
import pandas as pd

from keras_fracture.data import audit, numbering
from keras_fracture.data.own import checking, find
from tests.data import own


def _table(labels, sources=None, name="a/IMG{:04d}.jpg"):
    numbers = range(len(labels))
    sources = numbers if sources is None else sources
    return pd.DataFrame(
        {
            "filename": [name.format(number) for number in numbers],
            "label": labels,
            "source": [f"s{source}" for source in sources],
        }
    )


def test_labels_beside_are_those_of_the_two_nearest_numbers_of_other_sources():
    table = _table([0, 1, 1, 0, 1, 0], sources=[0, 1, 1, 1, 2, 3])
    # Of the third file, numbers 2 and 4 are of its own source: the nearest of others are 5 (distance 2) and 1.
    expected = [1, 0.5, 0.5, 0.5, 0, 0.5]
    np.testing.assert_array_equal(numbering.labels_beside(table), expected)
    shuffled = table.sample(frac=1, random_state=0)
    np.testing.assert_array_equal(numbering.labels_beside(shuffled), np.array(expected)[shuffled.index])


def test_numbers_of_something_else_and_names_without_one_tell_nothing():
    assert np.isnan(numbering.labels_beside(_table([0, 1] * 5, name="{0:d}-rotated1.png"))).all()
    assert np.isnan(numbering.labels_beside(_table([0, 1] * 5, name="left.png"))).all()
    alone = numbering.labels_beside(_table([0, 1, 1, 1], sources=[0, 0, 0, 0]))
    assert np.isnan(alone).all()


def test_findings_numbered_in_pairs_are_found_and_in_no_order_are_not():
    rng = np.random.default_rng(0)
    pairs = np.repeat(rng.random(200) < 0.2, 2).astype(int)
    for labels, found in ((pairs, True), (rng.permutation(pairs), False)):
        finding = audit._numbered(_table(labels), 0.55)
        assert bool(finding["count"]) == found
        assert not found or finding["count"] > 0.8 * labels.sum()


def test_own_files_numbered_in_pairs_are_said_unless_patients_are_told(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.random(80) < 0.4, 2)
    rows = []
    for number, label in enumerate(labels):
        name = f"{number:04d}.png"
        own.write(tmp_path / name, rng.integers(0, 256, (32, 32), np.uint8))
        rows.append((name, int(label), f"p{number // 2}"))
    table = pd.DataFrame(rows, columns=["image", "label", "patient"])
    for columns, said in ((["image", "label"], True), (["image", "label", "patient"], False)):
        table[columns].to_csv(tmp_path / "labels.csv", index=False)
        lines = checking.lines(find(str(tmp_path)), progress=False)[0]
        assert any("nearest file numbers" in line for line in lines) == said
