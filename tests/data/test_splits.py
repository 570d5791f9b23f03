import numpy as np
import pandas as pd
import pytest

from keras_fracture.data import splits
from keras_fracture.errors import DataError


def _table(sources=200, published=False, seed=0):
    """Sources of 1 to 6 images, 30 % with a finding, four body parts."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(sources):
        facts = {
            "source": f"s{number:03d}",
            "label": int(rng.random() < 0.3),
            "body_part": "abcd"[number % 4],
        }
        facts["published_split"] = ("val" if rng.random() < 0.2 else "train") if published else ""
        rows += [facts] * int(rng.integers(1, 7))
    return pd.DataFrame(rows).sample(frac=1, random_state=seed, ignore_index=True)


def _sides(table, side):
    return {name: set(table["source"][side == name]) for name in splits.NAMES}


@pytest.mark.parametrize("shares", [(0.7, 0.1, 0.2), (0.34, 0.33, 0.33), (0.9, 0.1, 0)])
def test_grouped_divides_no_source_and_keeps_shares_in_every_stratum(shares):
    table = _table()
    side = splits.assign(table, "grouped", shares)
    sides = _sides(table, side)
    assert sum(map(len, sides.values())) == table["source"].nunique()
    for _, stratum in table.assign(side=side).groupby(["label", "body_part"]):
        reached = [(stratum["side"] == name).mean() for name in splits.NAMES]
        # A stratum cannot be dealt out finer than its largest source, 6 images.
        np.testing.assert_allclose(reached, shares, atol=6 / len(stratum))
    overall = [(side == name).mean() for name in splits.NAMES]
    np.testing.assert_allclose(overall, shares, atol=0.03)


def test_sources_of_many_images_are_tested_on_as_often_as_others():
    sizes = np.repeat([12, 2, 1], [30, 100, 200])
    numbers = np.repeat(np.arange(len(sizes)), sizes)
    facts = {"source": numbers.astype(str), "label": numbers % 2, "body_part": "a", "published_split": ""}
    table = pd.DataFrame(facts)
    large = sizes[numbers] == 12

    def tested_on(**settings):
        sides = [splits.assign(table, seed=seed, **settings) for seed in range(20)]
        return np.array([side == "test" for side in sides])

    drawn = tested_on()
    for of_size in (large, ~large):
        assert drawn[:, of_size].mean() == pytest.approx(0.2, abs=0.03)
    assert drawn[:, large].any(axis=0).mean() > 0.9, "another seed tests on others"
    assert not tested_on(data="phantom")[:, large].any(), "as its recorded results were made"


def test_studies_divides_neither_a_study_nor_a_source():
    numbers = np.arange(900)
    table = pd.DataFrame(
        {
            "source": np.where(numbers % 9 == 3, numbers - 1, numbers).astype(str),  # joins two studies
            "study": (numbers // 3).astype(str),
            "label": (numbers // 9 % 4 == 0).astype(int),
            "body_part": "a",
            "published_split": "",
        }
    ).sample(frac=1, random_state=0, ignore_index=True)

    def sides(policy, column):
        side = splits.assign(table, policy, data="fracatlas")
        return side, table.assign(side=side).groupby(column)["side"].nunique().max()

    for column in ("study", "source"):
        side, most = sides("studies", column)
        assert most == 1
    np.testing.assert_allclose([(side == name).mean() for name in splits.NAMES], (0.7, 0.1, 0.2), atol=0.02)
    assert sides("grouped", "source")[1] == 1 and sides("grouped", "study")[1] > 1


def test_few_patients_of_many_images_leave_two_of_each_class_to_test_on():
    rng = np.random.default_rng(0)
    for seed in range(40):
        sizes = rng.integers(1, 10, 20)
        numbers = np.repeat(np.arange(len(sizes)), sizes)
        facts = {"source": numbers.astype(str), "label": numbers % 2, "body_part": "a", "published_split": ""}
        side = splits.assign(pd.DataFrame(facts), seed=seed)
        tested = np.unique(numbers[side == "test"])
        assert np.bincount(tested % 2, minlength=2).min() >= 2, "intervals need two"


@pytest.mark.parametrize("parts", [1, 4, 12])
@pytest.mark.parametrize("sources", [1, 2, 3, 4, 7, 23])
@pytest.mark.parametrize("shares", [(0.7, 0.1, 0.2), (0.34, 0.33, 0.33), (0.9, 0.1, 0)])
def test_small_strata_do_not_drift(shares, sources, parts):
    table = pd.DataFrame(
        [
            {
                "source": f"{label}-{part}-{number}",
                "label": label,
                "body_part": str(part),
                "published_split": "",
            }
            for label in (0, 1)
            for part in range(parts)
            for number in range(sources)
        ]
    )
    splits_wanted = np.count_nonzero(shares)
    if sources * parts < splits_wanted:
        with pytest.raises(
            DataError, match=f"{sources * parts} sources of healthy images and {sources * parts} of"
        ):
            splits.assign(table, "grouped", shares)
        return
    side = splits.assign(table, "grouped", shares)

    def furthest(rows):
        counts = np.array([(side[rows] == name).sum() for name in splits.NAMES])
        return np.abs(counts - np.array(shares) * rows.sum()).max()

    everything = np.ones(len(table), bool)
    # A split that would get none was given one: it has at most a source more than its share, and others give it.
    given = min(share for share in shares if share) * sources * parts < 1
    limit = 2.3 if given else 1 + 1e-9
    assert furthest(everything) <= max(limit, 0.02 * len(table))
    for label in (0, 1):
        of_label = (table["label"] == label).to_numpy()
        assert furthest(of_label) <= limit
        assert all(
            (side[of_label] == name).any() for name, share in zip(splits.NAMES, shares, strict=True) if share
        )
        for part in set(table["body_part"]):
            assert furthest(of_label & (table["body_part"] == part).to_numpy()) <= limit


def test_one_seed_one_split():
    table = _table()
    one, again, other = (splits.assign(table, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.2


def test_paper_keeps_the_published_test_images_and_cuts_train_by_file():
    table = _table(published=True)
    side = splits.assign(table, "paper", (0.72, 0.08, 0.2))
    np.testing.assert_array_equal(side == "test", table["published_split"] == "val")
    sides = _sides(table, side)
    assert sides["train"] & sides["validation"]
    free = side[side != "test"]
    assert (free == "validation").mean() == pytest.approx(0.1, abs=0.02)


def test_paper_leaks_where_the_publisher_leaks():
    table = _table(published=True)
    table.loc[table.index[::10], "published_split"] = "val"
    sides = _sides(table, splits.assign(table, "paper"))
    assert len(sides["train"] & sides["test"]) > 20


def test_paper_without_published_split_draws_files_into_all_three():
    table = _table()
    sides = _sides(table, splits.assign(table, "paper"))
    assert sides["train"] & sides["test"] and sides["train"] & sides["validation"]


def test_official_keeps_the_published_lists_and_divides_no_train_source():
    table = _table(published=True)
    side = splits.assign(table, "official", (0.7, 0.1, 0.2))
    np.testing.assert_array_equal(side == "test", table["published_split"] == "val")
    sides = _sides(table, side)
    assert not sides["train"] & sides["validation"]
    assert (side[side != "test"] == "validation").mean() == pytest.approx(0.125, abs=0.02)


def test_a_seed_that_draws_nothing_is_said(caplog):
    table = _table(published=True)
    splits.assign(table, "official", seed=3)  # draws the validation split
    table.loc[table.index[::10], "published_split"] = "test"
    sides = [splits.assign(table, "official", seed=seed) for seed in (0, 3)]
    np.testing.assert_array_equal(*sides)
    splits.assign(table, "grouped", seed=3)
    assert [message.split(". ")[-1] for message in caplog.messages] == ["Received: seed 3"]
    assert "of policy official every seed is the same split" in caplog.text


@pytest.mark.parametrize("policy", ["grouped", "paper"])
def test_synthetic_images_are_trained_on_alone_and_real_ones_dealt_out_as_without_them(policy):
    real = _table()
    painted = real[:3].assign(label=1)  # into real images, whose sources they share
    drawn = _table(50).assign(source=[f"drawn {number}" for number in range(len(_table(50)))])
    table = pd.concat(
        [real.assign(synthetic=False), *(one.assign(synthetic=True) for one in (drawn, painted))]
    )
    side = splits.assign(table, policy)
    assert set(side[table["synthetic"]]) == {"train"}
    like = real["source"].isin(painted["source"]) & (policy == "grouped")
    assert set(side[: len(real)][like]) <= {"train"}
    np.testing.assert_array_equal(side[: len(real)][~like], splits.assign(real[~like], policy))


def test_synthetic_images_that_the_publisher_tests_on_are_refused_and_for_validation_said(caplog):
    table = _table(published=True).assign(synthetic=False)
    table.loc[table.index[::10], "published_split"] = "test"
    table.loc[0, "synthetic"] = True
    for said, words in (("train", ""), ("val", "1 of "), ("test", None)):
        table.loc[0, "published_split"] = said
        if words is None:
            with pytest.raises(DataError, match=r"must have them in train\. Received: 1 of \d+ test images"):
                splits.assign(table, "official")
            continue
        caplog.clear()
        splits.assign(table, "official")
        assert caplog.text.count("validation images are synthetic") == bool(words)
    splits.assign(table, "grouped")  # does not ask the publisher


def test_where_the_publisher_holds_out_the_real_images_all_training_may_be_synthetic():
    table = _table(published=True)
    table.loc[table.index[::3], "published_split"] = "test"
    table["synthetic"] = table["published_split"] == "train"
    side = splits.assign(table, "official")
    assert (side == table["published_split"].replace("val", "validation")).all()


def test_nothing_but_synthetic_images_is_dealt_out_as_ever():
    table = _table()
    np.testing.assert_array_equal(splits.assign(table.assign(synthetic=True)), splits.assign(table))


@pytest.mark.parametrize(
    ("table", "options", "words"),
    [
        (_table().assign(synthetic=_table()["label"] == 1), {}, "0 of findings, beside synthetic images"),
        (_table(), {"policy": "random"}, "No such split policy.*'random'"),
        (_table(), {"policy": "official"}, "no official split"),
        (_table(), {"policy": "studies"}, "Nothing tells the studies"),
        (_table(), {"shares": (0.5, 0.2, 0.2)}, "sum to 1"),
        (_table(), {"shares": (1.2, -0.1, -0.1)}, "sum to 1"),
        (_table(), {"shares": (0.5, 0.5)}, "three numbers"),
        (_table(2), {}, "would lack a class"),
        (
            _table(published=True).assign(label=lambda one: one["label"] * (one["published_split"] != "val")),
            {"policy": "official"},
            r"comes with the images lacks a class in test: .* Received: \d+ healthy images and 0 of findings",
        ),
        (_table().assign(label=0), {}, "would lack a class"),
        (_table(published=True), {"policy": "official", "shares": (0, 0, 1)}, "needs a share"),
    ],
)
def test_what_cannot_be_split_is_a_data_error(table, options, words):
    with pytest.raises(DataError, match=words):
        splits.assign(table, **options)
