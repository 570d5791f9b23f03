import itertools
import re
from collections import Counter

import cv2
import numpy as np
import pytest

from keras_fracture import data
from keras_fracture.data import decoding, phantom
from keras_fracture.data.datasets.phantom import layout
from keras_fracture.data.phantom_anatomy import PARTS
from keras_fracture.data.phantom_findings import KINDS
from keras_fracture.errors import DataError
from tests.data import phantoms

IN_PLACE = [kind for kind in KINDS if kind != "displaced"]


@pytest.fixture(scope="module")
def sample():
    return list(phantom.records(seed=3, sources=112, size=96))


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The tables of all splits of few phantoms, by policy."""
    with phantoms.few(24, 16, tmp_path_factory.mktemp("cache")):
        return {
            policy: {split: data.load("phantom", split, policy).table for split in data.splits.NAMES}
            for policy in layout.POLICIES
        }


def _first(kind, part, seed=0):
    return next(s for s in phantom.plan(seed) if s.finding == kind and s.body_part == part)


@pytest.mark.parametrize("split", ["train[:10%]", "test [5:]", "train+validation"])
def test_a_part_of_a_split_is_named_by_its_way(split):
    way = re.escape(f"data.Records(data.prepare('phantom'), '{split}')")
    with pytest.raises(DataError, match=f"taken by {way}"):
        data.load("phantom", split)
    with pytest.raises(DataError, match=r"No such split.*Did you mean train"):
        data.load("phantom", "trian")


def test_record_has_the_documented_types(sample):
    for record in sample[:20]:
        assert record["image"].shape == (96, 96, 1) and record["image"].dtype == np.uint8
        assert record["boxes"].dtype == np.float32 and record["boxes"].shape[1] == 4
        assert record["label"] == int(record["finding"] != "none")
    assert len({record["filename"] for record in sample}) == len(sample)


def test_item_is_the_same_alone_in_sequence_and_again():
    again = phantom.records(seed=3, sources=112, size=96)
    in_sequence = [again[i] for i in range(6)]
    alone = phantom.records(seed=3, sources=112, size=96)[5]
    np.testing.assert_array_equal(in_sequence[5]["image"], alone["image"])
    np.testing.assert_array_equal(in_sequence[5]["boxes"], alone["boxes"])


def test_more_sources_leave_the_first_ones_as_they_were():
    few, many = phantom.records(sources=4, size=64), phantom.records(sources=40, size=64)
    np.testing.assert_array_equal(few[3]["image"], many[3]["image"])


def test_seeds_shots_and_views_differ():
    one, other = phantom.records(0, 4, 96), phantom.records(1, 4, 96)
    assert (one[0]["image"] != other[0]["image"]).mean() > 0.3
    source = next(s for s in phantom.plan() if s.shots == 4)
    shots = [phantom.draw(source, i, size=96)["image"] for i in range(4)]
    for a, b in itertools.combinations(shots, 2):
        assert (a != b).mean() > 0.3


def test_shots_of_a_source_share_everything_but_the_view(sample):
    for name in {record["source"] for record in sample}:
        shots = [record for record in sample if record["source"] == name]
        assert 2 <= len(shots) <= 4
        assert len({(s["label"], s["finding"], s["body_part"]) for s in shots}) == 1
        assert {s["view"] for s in shots} == {"frontal", "lateral"}


@pytest.mark.parametrize("seed", [0, 7])
def test_labels_balance_within_parts_and_views(seed):
    shots = Counter()
    for source in phantom.plan(seed):
        for shot in range(source.shots):
            shots[source.body_part, shot % 2, source.finding != "none"] += 1
    assert set(shots) == set(itertools.product(PARTS, (0, 1), (False, True)))
    assert all(shots[part, view, True] == shots[part, view, False] for part in PARTS for view in (0, 1))
    assert 1600 <= sum(shots.values()) <= 1800
    kinds = Counter((s.body_part, s.finding) for s in phantom.plan(seed) if s.finding != "none")
    assert len(kinds) == len(PARTS) * len(KINDS) and max(kinds.values()) - min(kinds.values()) <= 1


@pytest.mark.parametrize("seed", [0, 7])
def test_held_out_limbs_balance_and_have_one_image_each(seed):
    limbs = [source for source in phantom.plan(seed, 2, phantom.TEST_SOURCES) if source.held_out]
    assert len(limbs) == phantom.TEST_SOURCES and all(len(limb.taken) == 1 for limb in limbs)
    counts = Counter((limb.body_part, limb.taken[0] % 2, limb.finding != "none") for limb in limbs)
    assert len(counts) == 2 * 2 * len(PARTS) and max(counts.values()) - min(counts.values()) <= 4
    assert all(counts[part, view, True] == counts[part, view, False] for part, view, _ in counts)
    kinds = Counter((limb.finding, limb.taken[0] % 2) for limb in limbs if limb.finding != "none")
    assert len(kinds) == 2 * len(KINDS) and max(kinds.values()) - min(kinds.values()) <= 4


def test_images_to_learn_from_do_not_depend_on_how_many_are_held_out():
    none, some = phantom.records(sources=4, size=64), phantom.records(sources=4, size=64, test_sources=6)
    assert [one["filename"] for one in none] == [one["filename"] for one in some[: len(none)]]
    for one, same in zip(none, some, strict=False):
        np.testing.assert_array_equal(one["image"], same["image"])
    held_out = some[len(none) :]
    assert [one["published_split"] for one in none] == [""] * len(none)
    assert [one["published_split"] for one in held_out] == ["test"] * 6
    assert not {one["source"] for one in none} & {one["source"] for one in held_out}


def test_held_out_limbs_are_the_test_split_of_grouped_and_of_no_other_policy(tables):
    limbs = phantom.plan(0, 24, 16)
    held_out, others = ({limb.name for limb in limbs if limb.held_out == which} for which in (True, False))
    grouped, paper = (
        {split: set(table["source"]) for split, table in tables[policy].items()}
        for policy in ("grouped", "paper")
    )
    assert grouped["test"] == held_out and len(tables["grouped"]["test"]) == len(held_out) == 16
    assert grouped["train"] | grouped["validation"] == others
    assert not grouped["train"] & grouped["validation"]
    assert set().union(*paper.values()) == others and paper["train"] & paper["test"]


def test_shares_that_the_test_limbs_do_not_leave_are_said(tables, monkeypatch, caplog):
    monkeypatch.setattr(layout, "SOURCES", (24, 16))
    shares = (0.8, 0.2, 0)
    counts = {split: len(one) for split, one in data.load_all("phantom", shares=shares, seed=6).items()}
    reached = ", ".join(f"{100 * count / sum(counts.values()):.0f}" for count in counts.values())
    assert counts["test"] == 16
    [said] = caplog.messages
    assert f"has {reached} % of its images" in said and said.endswith("Received: shares of 80, 20, 0 %")
    caplog.clear()
    data.load("phantom", policy="paper", shares=(0.6, 0.2, 0.2), seed=6)
    assert not caplog.messages, "these are reached"


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0), (0.4, 0.1, 0.5)])
def test_shares_and_seed_change_no_test_image(shares, tables, monkeypatch):
    monkeypatch.setattr(layout, "SOURCES", (24, 16))
    records = {split: data.load("phantom", split, shares=shares, seed=2) for split in data.splits.NAMES}
    assert list(records["test"].table["filename"]) == list(tables["grouped"]["test"]["filename"])
    train = len(records["train"]) / (len(records["train"]) + len(records["validation"]))
    assert train == pytest.approx(shares[0] / (shares[0] + shares[1]), abs=0.05)


def test_images_are_drawn_once_for_all_processes(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_FRACTURE_CACHE", str(tmp_path))
    read, calls = layout._read.__wrapped__, []  # as in a process that has read none
    drawn = phantom.records

    def counted(*arguments, **numbers):
        calls.append(numbers)
        return drawn(*arguments, **numbers)

    monkeypatch.setattr(phantom, "records", counted)
    first, again = read(2, 2), read(2, 2)
    assert len(calls) == 1
    expected = {record["filename"]: record for record in drawn(sources=2, test_sources=2)}
    assert len(first) == len(again) == len(expected)
    for table in (first, again):
        for row in table.to_dict("records"):
            record = expected[row["filename"]]
            np.testing.assert_array_equal(decoding.decode(row["image"]).image, record["image"][..., 0])
            np.testing.assert_array_equal(row["boxes"], record["boxes"])
            assert row["boxes"].dtype == np.float32 and row["label"] == record["label"]
    read(2, 4)
    read(2, 2, seed=1)
    changed = tmp_path / "phantom_findings.py"
    changed.write_text("# other code\n")
    monkeypatch.setattr(phantom.findings, "__file__", str(changed))
    read(2, 2)
    assert len(calls) == 4, "other numbers or other code are other images"


def test_neighbouring_numbers_do_not_tell_the_label():
    labels = [s.finding != "none" for s in phantom.plan(0)]
    assert 0.4 < np.mean(labels[::2]) < 0.6


@pytest.mark.parametrize("shot", [0, 1])
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("kind", IN_PLACE)
def test_box_holds_exactly_the_pixels_the_finding_changed(kind, part, shot):
    source = _first(kind, part)
    hurt = phantom.draw(source, shot, size=128, noise=False)
    whole = phantom.draw(source, shot, size=128, noise=False, finding=False)
    changed = hurt["image"][..., 0] != whole["image"][..., 0]
    ((top, left, bottom, right),) = np.rint(hurt["boxes"] * 128).astype(int)
    inside = changed[top:bottom, left:right]
    assert inside.sum() == changed.sum()
    assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
    assert inside.mean() > 0.1
    assert not len(whole["boxes"]) and whole["label"] == 0 and whole["finding"] == "none"


@pytest.mark.parametrize("part", PARTS)
def test_displaced_box_lies_at_the_break_and_bone_moves_below_it(part):
    source = _first("displaced", part)
    hurt = phantom.draw(source, 0, size=128, noise=False)
    whole = phantom.draw(source, 0, size=128, noise=False, finding=False)
    changed = np.abs(hurt["image"].astype(int) - whole["image"])[..., 0]
    ((top, left, bottom, right),) = np.rint(hurt["boxes"] * 128).astype(int)
    assert 0 < (bottom - top) * (right - left) < 0.2 * 128**2
    assert changed[top:bottom, left:right].sum() > 5 * changed[:top].sum()
    assert changed[bottom:].max() > 10


@pytest.mark.parametrize("kind", KINDS)
def test_every_finding_shows(kind):
    limbs = [limb for limb in phantom.plan(0, 2, 400) if limb.finding == kind]
    for limb in limbs[:6]:
        hurt, whole = (
            phantom.draw(limb, limb.taken[0], size=128, noise=False, finding=which) for which in (True, False)
        )
        ((top, left, bottom, right),) = np.rint(hurt["boxes"] * 128).astype(int)
        change = np.abs(hurt["image"].astype(int) - whole["image"])[top:bottom, left:right]
        assert (change >= 6).sum() > 20, (limb.name, change.max())


def test_boxes_are_ordered_and_inside_the_image(sample):
    for record in sample:
        assert len(record["boxes"]) == record["label"]
        for top, left, bottom, right in record["boxes"]:
            assert 0 <= top < bottom <= 1 and 0 <= left < right <= 1


def test_box_follows_the_finding_not_the_resolution():
    source = _first("lytic", "femur")
    small, large = (phantom.draw(source, 0, size=size)["boxes"] for size in (128, 256))
    np.testing.assert_allclose(small, large, atol=0.04)


def test_finding_is_darker_or_brighter_as_its_name_says():
    for kind, sign in (("lytic", -1), ("transverse", -1), ("sclerotic", 1)):
        for part in PARTS:
            source = _first(kind, part)
            hurt = phantom.draw(source, 0, size=96, noise=False)["image"].astype(int)
            whole = phantom.draw(source, 0, size=96, noise=False, finding=False)["image"]
            assert sign * (hurt - whole).sum() > 0, (kind, part)


def test_noise_changes_grey_levels_but_not_boxes():
    source = _first("oblique", "tibia")
    clean, noisy = (phantom.draw(source, 0, size=96, noise=n) for n in (False, True))
    assert (clean["image"] != noisy["image"]).any()
    np.testing.assert_array_equal(clean["boxes"], noisy["boxes"])


def _scalars(image):
    grey = image.astype("float32")
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    share = np.bincount(image.ravel(), minlength=256) / image.size
    share = share[share > 0]
    return {
        "mean": grey.mean(),
        "deviation": grey.std(),
        "minimum": grey.min(),
        "maximum": grey.max(),
        "median": np.median(grey),
        "percentile 1": np.percentile(grey, 1),
        "percentile 99": np.percentile(grey, 99),
        "blur": cv2.Laplacian(grey, cv2.CV_32F).var(),
        "jpeg": len(cv2.imencode(".jpg", image)[1]),
        "png": len(cv2.imencode(".png", image)[1]),
        "border": border.mean(),
        "gradient": cv2.Sobel(grey, -1, 1, 0).var() + cv2.Sobel(grey, -1, 0, 1).var(),
        "entropy": -(share * np.log2(share)).sum(),
        "skewness": ((grey - grey.mean()) ** 3).mean() / grey.std() ** 3,
    }


def _threshold_accuracy(values, labels):
    """What the best single threshold reaches, either way round, on equally many of both classes."""
    order = np.argsort(values, kind="stable")
    values, labels = values[order], labels[order]
    gain = np.cumsum(np.where(labels, -1, 1))[np.append(values[1:] != values[:-1], True)]
    right = (labels.sum() + gain) / len(labels)
    return max(right.max(), 1 - right.min())


def test_threshold_accuracy_finds_a_planted_shortcut():
    labels = np.array([0, 1] * 50)
    assert _threshold_accuracy(labels + 0.0, labels) == 1.0
    assert _threshold_accuracy(-labels + 0.0, labels) == 1.0
    assert _threshold_accuracy(np.zeros(100), labels) == 0.5


def test_no_single_scalar_tells_the_class(sample):
    labels = np.array([record["label"] for record in sample])
    assert labels.mean() == 0.5
    rows = [_scalars(record["image"][..., 0]) for record in sample]
    reached = {k: _threshold_accuracy(np.array([row[k] for row in rows]), labels) for k in rows[0]}
    assert max(reached.values()) <= 0.64, reached


@pytest.mark.parametrize(
    "call",
    [
        lambda: phantom.records(sources=0),
        lambda: phantom.records(seed=-1),
        lambda: phantom.draw(phantom.plan()[0], 9),
        lambda: phantom.draw(phantom.plan()[0], 0, size=8),
    ],
)
def test_bad_arguments_are_refused(call):
    with pytest.raises(DataError, match="Received"):
        call()
