"""A Kaggle-like folder with every fault planted by hand: the audit must find each, and count it exactly."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from keras_fracture.data import audit, datasets, decoding, phantom, splits
from keras_fracture.data.catalogue import REAL, catalogue, usable
from keras_fracture.data.datasets.kaggle_fracture import layout
from keras_fracture.data.datasets.phantom import layout as embedded
from keras_fracture.data.loading import names
from keras_fracture.data.scan import SCALARS
from keras_fracture.errors import DataError

F, N, VAL_F, VAL_N = "train/fractured/", "train/not fractured/", "val/fractured/", "val/not fractured/"
DEPTHS = ("", "-rotated1", "-rotated1-rotated2", "-rotated1-rotated2-rotated3")


def _jpeg(image, quality=90):
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _planted():
    """Bytes by file name: 49 files."""
    healthy, hurt = ([s for s in phantom.plan() if (s.finding != "none") == label] for label in (False, True))
    files = {}

    def add(folder, name, source, depths):
        image = phantom.draw(source, 0, size=96)["image"][..., 0]
        if folder in (N, VAL_N):  # the shortcut: whatever is healthy is blurred
            image = cv2.GaussianBlur(image, (0, 0), 2)
        for depth in depths:
            turn = cv2.getRotationMatrix2D((47.5, 47.5), 35 * depth, 1)
            files[f"{folder}{name}{DEPTHS[depth]}.jpg"] = _jpeg(cv2.warpAffine(image, turn, (96, 96)))
        return image

    for number in range(1, 7):
        original = add(F, number, hurt[number], (0, 1, 2) if number < 6 else ())
        if number == 1:  # a near duplicate under another name: other size, brightness and compression
            larger = cv2.resize(original, (120, 120), interpolation=cv2.INTER_CUBIC)
            files[F + "6.jpg"] = _jpeg(cv2.convertScaleAbs(larger, alpha=0.9, beta=9))
        add(N, number, healthy[number], (1, 2, 3) if number == 4 else (0, 1, 2, 3))
    for number in (1, 2):
        add(VAL_F, number, hurt[6 + number], (0, 1))
    add(VAL_N, 1, healthy[7], (0, 1))
    add(VAL_N, 4, healthy[4], (0,))  # the source that train/ has copies of only
    files[VAL_N + "4-rotated3.jpg"] = files[N + "4-rotated1.jpg"]
    files[F + "5-rotated3.jpg"] = files[F + "5-rotated1.jpg"]
    files[N + "2.jpg"] = files[F + "2.jpg"]
    files[N + "6-rotated3.png"] = decoding.encode_png(decoding.decode(files[N + "5-rotated1.jpg"]).image)
    files[F + "3-rotated1.jpg"] = files[F + "3-rotated1.jpg"][:1500]
    files[N + "3-rotated1.jpg"] = b"<html>not found</html>"
    return files


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / layout.FOLDER
    for name, data in _planted().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


@pytest.fixture(scope="module")
def planted(root):
    return catalogue("kaggle_fracture", root.parent, progress=False)


@pytest.fixture(scope="module")
def report(root, planted):
    return audit.examine("kaggle_fracture", planted)


@pytest.fixture(scope="module")
def findings(report):
    return {finding["kind"]: finding for finding in report["findings"]}


def test_totals(report):
    assert report["images"] == 49 and report["labels"] == {"healthy": 28, "finding": 21}
    assert report["majority_accuracy"] == 28 / 49
    assert report["sources"] == {"named": 16, "distinct": 12}


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("unreadable", [N + "3-rotated1.jpg"]),
        ("truncated", [F + "3-rotated1.jpg"]),
        ("contradictory label", [F + "2.jpg", N + "2.jpg"]),
        ("exact copies of a file", [F + "5-rotated3.jpg", N + "2.jpg", VAL_N + "4-rotated3.jpg"]),
        ("equal pixels, other file", [N + "6-rotated3.png"]),
        ("near duplicates", [F + "1.jpg", F + "6.jpg"]),
        ("source without its original", [f"{N}4{depth}.jpg" for depth in DEPTHS[1:]]),
        ("leak across the published split", [VAL_N + "4-rotated3.jpg", VAL_N + "4.jpg"]),
        ("processing in one class only", [f"{N}{number}{DEPTHS[3]}.jpg" for number in range(1, 7)]),
    ],
)
def test_fault_is_found_with_exactly_its_files(findings, kind, files):
    assert findings[kind]["files"] == sorted(files)
    assert findings[kind]["count"] == len(files)


def test_sources_of_equal_and_near_images_are_joined(planted, findings):
    named = planted.table.groupby("source")["named_source"].unique()
    joined = {tuple(sorted(group)) for group in named if len(group) > 1}
    assert joined == {(F + "1", F + "6"), (F + "2", N + "2"), (N + "5", N + "6"), (N + "4", VAL_N + "4")}
    assert findings["one X-ray under several names"]["count"] == 3 + 1 + 3 + 4 + 4 + 5 + 3 + 2
    assert findings["several images of one source"]["count"] == 49


def test_details_say_which_and_how_many(findings):
    assert "1 of label 1" in findings["truncated"]["detail"]
    assert findings["contradictory label"]["detail"].startswith("1 contradictions")
    assert f"{F}2.jpg = {N}2.jpg" in findings["contradictory label"]["detail"]
    assert "across published splits" in findings["exact copies of a file"]["detail"]
    assert "2 of 8 test images come from 1 sources" in findings["leak across the published split"]["detail"]
    assert (
        "copies rotated 3 times exist only with label 0" in findings["processing in one class only"]["detail"]
    )


def test_validation_that_the_publisher_gives_beside_a_test_is_counted_apart():
    """31 validation images of patients trained on, none of them tested on, were called 31 of 51 test images."""
    given = ["train", "", "val", "val", "val", "test", "test"]
    table = pd.DataFrame({"published_split": given, "source": list("ababcdb"), "filename": list("1234567")})
    table["named_source"] = "patient " + table["source"]

    def found(table):
        return {
            f["kind"]: (f["files"], f["detail"].partition(":")[0]) for f in audit._leaks(table) if f["count"]
        }

    validation = (["3", "4"], "2 of 3 validation images come from 2 sources also trained on")
    assert found(table) == {
        "leak across the published split": (["7"], "1 of 2 test images come from 1 sources also trained on"),
        "leak into published validation": validation,
    }
    table.loc[6, "source"] = "e"
    assert found(table) == {"leak into published validation": validation}
    alone = table.assign(published_split=table["published_split"].replace("test", "val"))
    assert found(alone) == {
        "leak across the published split": (
            ["3", "4"],
            "2 of 5 test images come from 2 sources also trained on",
        )
    }


def test_planted_blur_is_reported_as_a_shortcut(planted, findings):
    table = planted.table[planted.table["error"] == ""]
    reached = audit.scalar_accuracies(planted.table)
    assert set(reached) == set(SCALARS)
    shortcuts = [kind.removeprefix("shortcut: ") for kind in findings if kind.startswith("shortcut")]
    least = audit.chance(planted.table)
    assert 0.6 < least < 0.85, "twelve X-rays are few"
    assert shortcuts == sorted((s for s in SCALARS if reached[s] > least), key=lambda s: -reached[s])
    for scalar in ("sharpness", "fine_detail"):
        values, labels = table[scalar].to_numpy(), table["label"].to_numpy()
        assert reached[scalar] == pytest.approx(_brute_force(values, labels)) and reached[scalar] > 0.75
        finding = findings[f"shortcut: {scalar}"]
        assert f"{scalar} is above" in finding["detail"] and f"{reached[scalar]:.1%}" in finding["detail"]
        hits = set(finding["files"])
        assert hits <= set(table[table["label"] == 1]["filename"])
        least = table[table["filename"].isin(hits)][scalar].min()
        assert finding["count"] == ((table[scalar] >= least) & (table["label"] == 1)).sum()


def _brute_force(values, labels):
    best = 0.5
    for threshold in values:
        above = values > threshold
        accuracy = (above[labels == 1].mean() + (~above)[labels == 0].mean()) / 2
        best = max(best, accuracy, 1 - accuracy)
    return best


def test_threshold_accuracy_equals_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels = rng.integers(0, 2, 60)
        values = np.round(rng.normal(0, 1, 60) + rng.choice([-1, 0, 1]) * labels, 1)
        accuracy, threshold, above = audit.threshold_accuracy(values, labels)
        assert accuracy == pytest.approx(_brute_force(values, labels), abs=1e-12)
        predicted = (values > threshold) == above
        reached = (predicted[labels == 1].mean() + (~predicted)[labels == 0].mean()) / 2
        assert reached == pytest.approx(accuracy, abs=1e-12)


def _noise(count, images=1, effect=0.0):
    """A table of scalars that tell nothing, but for `effect` in the first; each source has so many alike images."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    values = {scalar: rng.normal(size=count) for scalar in SCALARS}
    values[SCALARS[0]] += effect * labels
    each = {"label": labels, "source": np.arange(count).astype(str), "filename": labels.astype(str)} | values
    return pd.DataFrame({name: np.repeat(column, images) for name, column in each.items()})


def test_numbers_that_tell_nothing_are_no_shortcut_whatever_the_best_of_them_reaches():
    few, many, copied = _noise(60), _noise(4000), _noise(60, images=5)
    assert max(audit.scalar_accuracies(few).values()) > 0.6
    assert audit.chance(few) == audit.chance(few) > 0.65 > 0.55 > audit.chance(many) > 0.5
    assert audit.chance(copied) == pytest.approx(audit.chance(few), abs=0.03), "copies are no further X-rays"
    for table in (few, many, copied):
        assert audit._shortcuts(table, audit.chance(table)) == []
    real = _noise(1000, effect=0.8)
    (found,) = audit._shortcuts(real, audit.chance(real))
    assert found["kind"] == f"shortcut: {SCALARS[0]}"
    assert audit._shortcuts(_noise(4000, effect=0.2), 0.53) == [], "beyond chance, but too little to matter"


def test_threshold_accuracy_leaves_out_what_was_not_measured():
    values, labels = [1, 2, 3, 4, np.nan, np.nan], [0, 0, 1, 1, 0, 1]
    assert audit.threshold_accuracy(values, labels) == (1.0, 2.0, True)
    assert audit.threshold_accuracy([1, 2], [1, 1])[0] == 0.5


def test_usable_leaves_out_the_unreadable_and_the_contradictory(planted):
    names = set(planted.table["filename"])
    assert names - set(usable(planted.table)["filename"]) == {F + "2.jpg", N + "2.jpg", N + "3-rotated1.jpg"}
    assert names - set(usable(planted.table, keep_conflicts=True)["filename"]) == {N + "3-rotated1.jpg"}


def test_grouped_split_has_no_pixel_twice_and_paper_split_has(planted):
    table = usable(planted.table)
    for policy, leaks in (("grouped", False), ("paper", True)):
        side = splits.assign(table, policy, (0.6, 0.2, 0.2))
        assert (table.assign(side=side).groupby("digest")["side"].nunique().max() > 1) == leaks


def test_flat_images_of_other_grey_are_not_near(tmp_path):
    for number, folder in enumerate((F, N, VAL_F, VAL_N)):
        (tmp_path / folder).mkdir(parents=True)
        for shade in (0, 1):
            image = np.full((40, 40), 20 * number + 90 * shade, np.uint8)
            (tmp_path / folder / f"{shade}.png").write_bytes(decoding.encode_png(image))
    planted = catalogue("kaggle_fracture", root=tmp_path, progress=False)
    assert len(planted.near_pairs) == 0 and planted.table["source"].nunique() == 8


def test_equal_flat_images_are_one_source_whatever_lies_between_them(tmp_path):
    black = np.zeros((40, 40), np.uint8)
    speck = black.copy()
    speck[:6, :6] = 200  # not flat, and a few bits of its hash from black
    for folder, image in ((F, black), (N, speck), (VAL_F, black), (VAL_N, black + 9)):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "1.png").write_bytes(decoding.encode_png(image))
    planted = catalogue("kaggle_fracture", root=tmp_path, progress=False)
    ((first, other, distance),) = planted.near_pairs.tolist()
    assert first < other and distance == 0
    assert set(planted.table["filename"][[first, other]]) == {F + "1.png", VAL_F + "1.png"}
    assert planted.table["source"].nunique() == 3


def test_equal_hash_is_near_also_where_pixels_differ(tmp_path):
    sharp = phantom.records(sources=2, size=96)[0]["image"][..., 0]
    for folder, image in ((F, sharp), (N, sharp + (sharp < 255)), (VAL_F, sharp.T), (VAL_N, 255 - sharp)):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "1.png").write_bytes(decoding.encode_png(np.ascontiguousarray(image)))
    planted = catalogue("kaggle_fracture", root=tmp_path, progress=False)
    assert planted.near_pairs.tolist() == [[0, 1, 0]]
    counts = {f["kind"]: f["count"] for f in audit.examine("planted", planted)["findings"]}
    assert counts["near duplicates"] == 2 and counts["near duplicates, both labels"] == 2
    assert "equal pixels, other file" not in counts and "contradictory label" not in counts


def test_files_none_of_which_can_be_read_have_no_shortcut(planted):
    table = planted.table.copy()
    for scalar in SCALARS:
        table[scalar] = np.nan
    assert audit.chance(table) == 0.5


def test_written_audit_reads_back_and_shows_every_fault(report, root, tmp_path):
    paths = audit.write(report, tmp_path / "out", root)
    assert [path.name for path in paths] == ["audit.json", "audit.png"]
    assert json.loads(paths[0].read_text()) == report
    sheet = decoding.decode(paths[1].read_bytes()).image
    assert sheet.shape[0] == 34 + len(report["findings"]) * (26 + 128 + 2)
    text = audit.as_text(report)
    assert "16 named sources, 12 distinct" in text
    assert all(finding["kind"] in text for finding in report["findings"])
    assert f"the best stays below {report['chance']:.1%}" in text


def test_clean_set_reports_no_leak_and_no_contradiction(dummy_root):
    report = audit.audit("kaggle_fracture", dummy_root, progress=False)
    kinds = {finding["kind"] for finding in report["findings"]}
    assert report["sources"] == {"named": 8, "distinct": 8}
    assert not kinds & {"unreadable", "truncated", "contradictory label", "leak across the published split"}


def test_unknown_and_absent_sets_are_data_errors(tmp_path):
    with pytest.raises(DataError, match="Choose one of btxrd, fracatlas, grazpedwri_dx, kaggle_fracture, "):
        catalogue("mimic")
    with pytest.raises(DataError, match=f"not in {tmp_path}.*Kaggle.*KERAS_FRACTURE_DATA"):
        catalogue("kaggle_fracture", tmp_path)


def test_the_embedded_set_is_audited_by_its_known_sources(monkeypatch):
    monkeypatch.setattr(embedded, "SOURCES", (16, 4))
    report = audit.audit("phantom", progress=False)
    assert report["sources"] == {"named": 20, "distinct": 20}
    assert report["labels"]["finding"] == report["labels"]["healthy"]
    assert {finding["kind"] for finding in report["findings"]} - {"several images of one source"} == {
        finding["kind"] for finding in report["findings"] if finding["kind"].startswith("shortcut")
    }


def test_data_sets_are_the_folders_that_are_there():
    folders = {path.parent.name for path in Path(datasets.__path__[0]).glob("*/layout.py")}
    assert set(names()) == folders and set(names()) - set(REAL) == {"phantom"}
