"""What needs no network: facts of images, trees fitted on them, and a classifier beside these."""

import os
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from keras_fracture import cli, data, models, serving
from keras_fracture.data import Preprocess, catalogue, facts, locations, split_files
from keras_fracture.data.datasets.phantom import layout as phantom_layout
from keras_fracture.errors import DataError, EvaluationError
from keras_fracture.evaluation import Predictions, baselines, within
from keras_fracture.inference import scoring
from keras_fracture.report import baselines as words
from tests.data import own

PATIENT = r"(phantom_\d+)_"
SIZES = {"train": 240, "validation": 60, "test": 120}
SHARES_SUM = [f"grey_{level:02}" for level in range(facts.GREYS)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_FRACTURE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def made(telling, shuffled=False, seed=0):
    """Three splits of images of which a column, or nothing, tells the label; and the facts."""
    rng = np.random.default_rng(seed)
    sets, rows = {}, []
    for split, count in SIZES.items():
        labels = rng.permutation(np.arange(count) % 2)
        names = [f"{split}-{number}" for number in range(count)]
        sets[split] = pd.DataFrame({"filename": names, "label": labels, "source": names})
        shown = rng.permutation(labels) if shuffled else labels
        rows.append(
            pd.DataFrame(
                {"file": rng.random(count), "hog": rng.random(count), "table": rng.random(count)}, names
            )
        )
        rows[-1][telling] = shown + rng.random(count) / 2
    whole = pd.concat(rows)
    return sets, {kind: whole[[kind]] for kind in ("table", "file", "hog")}


@pytest.mark.parametrize("kind", ["table", "file", "hog"])
def test_a_column_that_tells_the_label_is_found_by_its_baseline_and_by_all(kind):
    fitted = baselines.fit(*made(kind), seeds=1)
    for name, one in fitted.scores.items():
        if name in (kind, "all"):
            assert one["auc"]["value"] > 0.99 and one["accuracy"]["value"] > 0.9, name
        else:
            assert abs(one["auc"]["value"] - 0.5) < 0.2, name
    assert fitted.scores["majority"]["auc"] == {"value": 0.5, "low": 0.5, "high": 0.5}


def test_of_shuffled_labels_nothing_is_learnt():
    fitted = baselines.fit(*made("table", shuffled=True))
    for name, one in fitted.scores.items():
        assert one["auc"]["low"] <= 0.5 <= one["auc"]["high"], name


def test_seeds_differ_and_what_is_kept_equals_what_is_fitted_anew(cache):
    sets, known = made("file", seed=1)
    known["file"] = known["file"].assign(more=np.random.default_rng(5).random(len(known["file"])))
    first = baselines.fit(sets, known, seeds=2)
    assert not np.array_equal(*first.test["all"].probabilities)
    kept = list(cache.glob("baselines/*.npz"))
    again = baselines.fit(sets, known, seeds=2)
    shutil.rmtree(cache)
    anew = baselines.fit(sets, known, seeds=2)
    for name, one in first.test.items():
        for other in (again, anew):
            np.testing.assert_array_equal(one.probabilities, other.test[name].probabilities)
    assert len(kept) == 1
    sets["train"] = sets["train"].assign(label=1 - sets["train"]["label"])
    turned = baselines.fit(sets, known, seeds=2)
    assert turned.scores["file"]["auc"]["value"] < 0.1, "other labels are other baselines"


def test_the_strongest_is_that_of_validation_whatever_the_test_says():
    sets, known = made("file")
    table = known["table"].copy()
    for split in ("train", "test"):  # of validation the table tells nothing
        table.loc[sets[split]["filename"], "table"] = sets[split]["label"].to_numpy()
    labels = sets["test"]["label"].to_numpy()
    names = sets["test"]["filename"]
    known["file"].loc[names, "file"] = 1 - labels  # and of test the file tells the opposite
    known["table"] = table
    fitted = baselines.fit(sets, known, seeds=1)
    assert fitted.scores["table"]["auc"]["value"] == 1.0 and fitted.scores["file"]["auc"]["value"] == 0.0
    assert fitted.strongest(baselines.BLIND) == "file"
    for split in ("train", "validation", "test"):
        known["hog"].loc[sets[split]["filename"], "hog"] = sets[split]["label"].to_numpy()
    known["file"] = known["hog"].rename(columns={"hog": "file"})
    alike = baselines.fit(sets, known, seeds=1)
    assert alike.validation_auc("file") == alike.validation_auc("hog") == 1.0
    assert alike.strongest(("majority", "file", "hog")) == "hog", "of equals the one that sees more"


def test_differences_are_those_computed_by_hand_and_paired():
    sets, known = made("hog")
    fitted = baselines.fit(sets, known, seeds=1, threshold=0.5)
    test = sets["test"]
    labels = test["label"].to_numpy()
    ours = np.random.default_rng(3).random(len(labels)) + labels / 4
    predictions = Predictions(labels, test["source"].to_numpy(str), ours[None] / 2)
    compared = baselines.compare(predictions, fitted)
    name = compared["strongest"]["name"]
    theirs = fitted.test[name].probabilities[0]
    assert name in ("hog", "all") and compared["blind"]["name"] in baselines.BLIND
    assert compared["strongest"]["auc_difference"]["value"] == pytest.approx(
        roc_auc_score(labels, ours) - roc_auc_score(labels, theirs)
    )
    assert compared["strongest"]["accuracy_difference"]["value"] == pytest.approx(
        ((ours / 2 >= 0.5) == labels).mean() - ((theirs >= 0.5) == labels).mean()
    )
    same = baselines.compare(fitted.test[name], fitted)["strongest"]
    assert same["auc_difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}, "paired: no interval is left"
    assert compared["scores"] == fitted.scores


def test_some_test_images_are_scored_as_these_alone():
    sets, known = made("hog", shuffled=True)
    fitted = baselines.fit(sets, known, seeds=2)
    some = np.array([5, 3, *range(20, 60)])
    part = fitted.take(some)
    labels = sets["test"]["label"].to_numpy()[some]
    expected = [roc_auc_score(labels, row[some]) for row in fitted.test["hog"].probabilities]
    assert part.scores["hog"]["auc"]["value"] == pytest.approx(np.mean(expected))
    assert part.strongest() == fitted.strongest()


def test_majority_is_right_about_the_larger_class():
    sets, known = made("file")
    sets["test"] = sets["test"][(sets["test"]["label"] == 0) | (sets["test"].index < 40)]
    fitted = baselines.fit(sets, known, seeds=1)
    sets["train"] = sets["train"][(sets["train"]["label"] == 0) | (sets["train"].index < 40)]
    few = baselines.fit(sets, known, seeds=1)
    healthy = (sets["test"]["label"] == 0).mean()
    assert few.scores["majority"]["accuracy"]["value"] == pytest.approx(healthy)
    assert fitted.scores["majority"]["accuracy"]["value"] == pytest.approx(1 - healthy), (
        "a half counts as finding"
    )


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_one_class_a_missing_split_and_unknown_images_are_said(split):
    sets, known = made("file")
    single = sets | {split: sets[split][sets[split]["label"] == 1]}
    with pytest.raises(EvaluationError, match=rf"{split} has not. Received: labels \[1\]"):
        baselines.fit(single, known)
    with pytest.raises(EvaluationError, match=rf"{split} has not. Received: labels \[\]"):
        baselines.fit({name: one for name, one in sets.items() if name != split}, known)
    known = {kind: table.drop(index=sets[split]["filename"][:2]) for kind, table in known.items()}
    with pytest.raises(EvaluationError, match=f"2 images of {split}.* Received: '{split}-0'"):
        baselines.fit(sets, known)


def test_facts_are_those_of_the_files(dummy_root):
    known = facts.read("fracatlas", dummy_root)
    module, root = catalogue.find("fracatlas", dummy_root)
    table = module.read(root)
    assert all(one.index.tolist() == table["filename"].tolist() for one in known.values())
    assert known["hog"].shape[1] == 7 * 7 * 2 * 2 * 9 == facts.HOG
    row = table.index[0]
    data = (root / table["filename"][row]).read_bytes()
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    file = known["file"].iloc[row]
    assert (file["height"], file["width"]) == image.shape
    assert file["bytes_per_pixel"] == pytest.approx(len(data) / image.size)
    np.testing.assert_allclose(file[SHARES_SUM], np.histogram(image, 16, (0, 256))[0] / image.size, rtol=1e-6)
    small = cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)
    assert file["sharpness"] == pytest.approx(cv2.Laplacian(small, cv2.CV_64F).var(), rel=1e-5)


WHITELIST = {
    "fracatlas": {"body_part", "view", "hardware", "multiscan"},
    "btxrd": {"center", "age", "sex", "body_part"},
    "kaggle_fracture": set(),
    "kaggle_regions": set(),
    "mura": {"body_part"},
    "grazpedwri_dx": {"view", "hardware", "cast", "age", "sex"},
    "phantom": {"body_part", "view"},
}


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_no_column_that_follows_from_the_label_is_known(name):
    assert set(catalogue.layout(name).KNOWN) == WHITELIST[name]


@pytest.mark.parametrize("name", ["fracatlas", "btxrd"])
def test_labels_findings_boxes_and_splits_change_no_fact(name, dummy_root, monkeypatch):
    before = facts.read(name, dummy_root)
    module = catalogue.layout(name)
    read = module.read

    def permuted(root):
        table = read(root)
        order = np.random.default_rng(0).permutation(len(table))
        for column in set(table) - {"filename", *module.KNOWN}:
            table[column] = [table[column].tolist()[row] for row in order]
        return table

    monkeypatch.setattr(module, "read", permuted)
    assert (
        permuted(catalogue.find(name, dummy_root)[1])["label"]
        != read(catalogue.find(name, dummy_root)[1])["label"]
    ).any()
    after = facts.read(name, dummy_root)
    for kind, table in before.items():
        pd.testing.assert_frame_equal(table, after[kind])


def test_file_names_are_no_facts(dummy_root, tmp_path):
    shutil.copytree(dummy_root, tmp_path / "data")
    root = tmp_path / "data" / "kaggle_bone_fracture"
    before = facts.read("kaggle_fracture", tmp_path / "data")
    paths = sorted(root.rglob("*.jpg"))
    turned = dict(
        zip(paths, [path.with_name(f"x{len(paths) - n:03}.jpg") for n, path in enumerate(paths)], strict=True)
    )
    for path, other in turned.items():
        path.rename(other)
    after = facts.read("kaggle_fracture", tmp_path / "data")
    renamed = [turned[root / name].relative_to(root).as_posix() for name in before["file"].index]
    assert not len(before["table"].columns)
    for kind in ("file", "hog"):
        np.testing.assert_array_equal(before[kind].to_numpy(), after[kind].loc[renamed].to_numpy())


def test_facts_are_kept_until_a_file_changes(dummy_root, tmp_path, monkeypatch):
    shutil.copytree(dummy_root, tmp_path / "data")
    fresh = facts.read("btxrd", tmp_path / "data")
    calls, describe = [], facts.describe
    monkeypatch.setattr(facts, "describe", lambda *words: calls.append(words) or describe(*words))
    kept = facts.read("btxrd", tmp_path / "data")
    assert not calls
    for kind, table in fresh.items():
        pd.testing.assert_frame_equal(table, kept[kind])
    path = tmp_path / "data" / "BTXRD" / fresh["file"].index[0]
    path.write_bytes((path.parent / "IMG000002.jpeg").read_bytes() + b"\0")
    os.utime(path, (1, 1))
    changed = facts.read("btxrd", tmp_path / "data")["file"]
    assert calls and (changed.iloc[0] != fresh["file"].iloc[0]).any()
    pd.testing.assert_frame_equal(changed[1:], fresh["file"][1:])


def test_words_become_columns_rare_ones_one_and_what_never_varies_none():
    words_ = pd.DataFrame({
        "part": [f"part {number // 2}" for number in range(200)],
        "same": "unknown", "age": np.r_[np.nan, np.arange(199.0)], "hardware": np.arange(200) % 2 == 0,
    })  # fmt: skip
    numbers = facts._numbers(words_)
    assert "same" not in numbers and len(numbers.columns) == 2 + 51
    assert numbers["part_rare"].sum() == 200 - 2 * 50
    np.testing.assert_array_equal(numbers["age"], words_["age"])
    assert (numbers.drop(columns=["age", "hardware"]).sum(axis=1) == 1).all()


@pytest.fixture
def few_phantoms(monkeypatch):
    monkeypatch.setattr(phantom_layout, "SOURCES", (60, 48))


def test_the_command_says_what_is_measured(few_phantoms, tmp_path, capsys):
    command = ["data", "baselines", "phantom", "--policy", "grouped", "--seeds", "1", "--out"]
    assert cli.main([*command, str(tmp_path / "a.csv")]) == 0
    said = capsys.readouterr().out.splitlines()
    table = pd.read_csv(tmp_path / "a.csv")
    assert table["baseline"].tolist() == list(baselines.NAMES) and set(table["policy"]) == {"grouped"}
    for line, row in zip(said[1:], table.itertuples(), strict=False):
        assert line.split()[:2] == [row.policy, row.baseline] and f"{row.auc:.3f} (" in line
    shutil.rmtree(locations.cache_dir() / "baselines")
    assert cli.main([*command, str(tmp_path / "b.csv")]) == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes(), (
        "the same to the last digit"
    )


def test_evaluate_says_what_needs_no_network(few_phantoms, tmp_path, capsys):
    model = tmp_path / "cnn"
    serving.export(models.create("compact_cnn", image_size=32), model, preprocess=Preprocess(size=32),
                   metadata={"classes": ["finding"]})  # fmt: skip
    assert cli.main(["evaluate", str(model), "--data", "phantom"]) == 0
    said = capsys.readouterr().out.splitlines()
    first = said.index("without a network, fitted on the training split of phantom:")
    assert said[first - 1].startswith("AUC within body parts")
    predictions = scoring.predictions(scoring.evaluate(model, data.load("phantom", "test")), 0.5)
    fitted = baselines.of_data("phantom", "grouped", seeds=3, threshold=0.5)  # as the model has it
    compared = baselines.compare(predictions, fitted)
    assert compared["fits"] == 3 and len(predictions.probabilities) == 1, (
        "one fit of trees is a matter of luck"
    )
    assert said[first:] == words.beside(compared, "phantom")
    assert cli.main(["evaluate", str(model), "--data", "phantom", "--split", "validation"]) == 0
    assert "without a network" not in capsys.readouterr().out, "baselines are chosen there"


def test_a_split_file_says_what_baselines_are_fitted_on(few_phantoms, tmp_path):
    """Fitted on the policy's training images, those of the file's test split would have been seen."""
    records = data.load_all("phantom")
    rows = split_files.table("phantom", records)
    other = rows.assign(split=rows["split"].map({"train": "test", "test": "train"}).fillna(rows["split"]))
    path = split_files.write(tmp_path / "other.csv", split_files.text(other))
    fitted = baselines.of_data("phantom", "grouped", seeds=1, split_file=path)
    assert sorted(fitted.test["hog"].sources) == sorted(records["train"].table["source"])
    by_policy = baselines.of_data("phantom", "grouped", seeds=1)
    assert sorted(by_policy.test["hog"].sources) == sorted(records["test"].table["source"])


def test_own_xrays_without_a_table_say_so(tmp_path, capsys):
    own.class_folders(tmp_path / "mine", own.records(24))
    command = [
        "data",
        "baselines",
        str(tmp_path / "mine"),
        "--patient",
        PATIENT,
        "--policy",
        "grouped",
    ]
    assert cli.main([*command, "--seeds", "1"]) == 0
    said = capsys.readouterr().out
    assert "no `table`" in said and " table " not in said and " hog " in said
    assert cli.main([*command, "--seeds", "0"]) == 2
    assert "--seeds must be at least 1. Received: 0" in capsys.readouterr().err
    with pytest.raises(DataError, match="no split policy of that name"):
        baselines.measure(str(tmp_path / "mine"), ["official"], patient=PATIENT)


def differing(strongest, blind, paired=True):
    def one(name, value, half):
        score = {"value": value, "low": value - half, "high": value + half}
        return {"name": name, "auc_difference": score, "accuracy_difference": score}

    return {"strongest": one("all", *strongest), "blind": one("table", *blind), "paired": paired}


def test_the_sentences_follow_from_the_intervals():
    for strongest, blind, begin, end in (
        ((0.1, 0.05), (0.2, 0.05), "Better than", "Better than"),
        ((0.0, 0.05), (0.2, 0.05), "Not shown to be better than", "Better than"),
        ((-0.1, 0.05), (0.2, 0.05), "Worse than", "Better than"),
        ((-0.1, 0.05), (0.01, 0.05), "Worse than", "Not shown to be better than"),
        ((-0.2, 0.05), (-0.1, 0.05), "Worse than", "Worse than"),
    ):
        said = words.verdict(differing(strongest, blind))
        assert said.startswith(f"{begin} boosted trees on image gradients")
        assert (
            f" {end} boosted trees on the data set's table (`table`), which do not see the bone: AUC " in said
        )
    same = differing((0.1, 0.05), (0.1, 0.05))
    same["strongest"] = same["blind"]
    assert words.verdict(same).count("AUC") == 1
    assert "not paired" not in words.verdict(differing((0, 1), (0, 1)))
    assert words.verdict(differing((0, 1), (0, 1), paired=False)).endswith("(*not paired*)")
    assert words.cells(None) == ["", ""]
    assert words.cells(differing((-0.1, 0.05), (0.01, 0.05))) == [
        "-0.100 (-0.150 to -0.050) `all`: worse",
        "+0.010 (-0.040 to +0.060) `table`: not shown to be better",
    ]
    assert words.cells(differing((0.1, 0.05), (0.2, 0.05), paired=False))[0].endswith(
        "`all`: better, *not paired*"
    )
    one, three = (words.cells(differing((0.1, 0.05), (0.2, 0.05)) | {"fits": fits}) for fits in (1, 3))
    assert (one[0], one[1]) == (three[0] + ", *one fit*", three[1])


def test_auc_within_groups_weighs_by_pairs():
    labels = np.array([0, 1, 0, 1, 1, 0, 0, 1])
    groups = np.array(list("aabbbbcd"))
    ours = np.array([[0.2, 0.1, 0.3, 0.4, 0.2, 0.35, 0.9, 0.8]])
    predictions = Predictions(labels, np.arange(8).astype(str), ours)
    found = within(predictions, groups, resamples=50)
    # a: 0 of 1 pair; b: findings 0.4, 0.2 against 0.3, 0.35: 2 of 4; c and d have one class.
    assert found["value"] == pytest.approx(2 / 5) and found["low"] <= found["value"] <= found["high"]
    assert within(predictions, ["a"] * 8) is None and within(predictions, np.arange(8)) is None
    offset = np.where(labels == 1, 10.0, 0.0)  # a group that tells the label is no help
    told = Predictions(labels, np.arange(8).astype(str), (ours + offset) / 11)
    assert within(told, labels) is None
