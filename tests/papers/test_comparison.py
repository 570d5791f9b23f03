import json

import pytest

from keras_fracture.errors import OutputError
from keras_fracture.papers import comparison
from keras_fracture.papers.lisbon_resnet.config import Config as LisbonResNet


def rows_of(text):
    """A Markdown table as a dict of first cell to the others."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines}


def score(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def classifier(data, profile="quick", variant="paper", accuracy=0.5, model="inception_net", **sizes):
    names = ("validation_accuracy", "validation_auc", "accuracy", "auc", "sensitivity_at_90")
    return {
        "variant": variant, "model": model, "data": data, "split_policy": "grouped", "profile": profile,
        "metrics": {name: score(0.3) for name in names} | {"accuracy": score(accuracy)},
        "reported": {"validation_accuracy": 0.85, "accuracy": 0.81}, "command": f"command {data}", **sizes,
    }  # fmt: skip


def record(folder, key, runs):
    (folder / f"{key}.json").write_text(json.dumps({"paper": key, "runs": runs}))


def test_each_run_gets_a_column_beside_the_papers(tmp_path):
    record(
        tmp_path, "garcia_inception", [classifier("kaggle_fracture"), classifier("kaggle_fracture", "paper")]
    )
    (tmp_path / "metrics.json").write_text(json.dumps({"runs": [classifier("phantom", accuracy=0.7)]}))
    text = comparison.beside("garcia_inception", tmp_path, tmp_path)
    rows = rows_of(text)
    head = text.splitlines()[0]
    assert (
        head.index("here: phantom")
        < head.index("fracture, grouped split, quick")
        < head.index("split, paper")
    )
    assert rows["accuracy"][:2] == ["0.81", "0.700 (0.600 to 0.800)"]
    assert rows["accuracy"][2:] == ["0.500 (0.400 to 0.600)"] * 2
    assert rows["validation accuracy"][0] == "0.85"
    assert text.count("`command kaggle_fracture`") == 1


def test_a_variant_is_a_column_of_its_own(tmp_path):
    record(tmp_path, "garcia_inception", [classifier("fracatlas"), classifier("fracatlas", variant="tuned")])
    assert "recorded 1: fracatlas, grouped split, quick, tuned" in comparison.beside(
        "garcia_inception", folder=tmp_path
    )


def test_runs_that_differ_in_pixels_or_epochs_alone_stay_apart(tmp_path):
    runs = [
        classifier("fracatlas", accuracy=0.2 * size, image_size=64 * size, epochs=size) for size in (1, 2)
    ]
    record(tmp_path, "garcia_inception", runs)
    text = comparison.beside("garcia_inception", folder=tmp_path)
    assert "quick, 64 pixels, 1 epoch |" in text and "quick, 128 pixels, 2 epochs |" in text
    assert [cell[:5] for cell in rows_of(text)["accuracy"]] == ["0.81", "0.200", "0.400"]


def test_each_network_has_a_table_of_its_own_runs_alone(tmp_path):
    runs = [
        classifier("fracatlas", model="resnet18"),
        classifier("fracatlas", "paper", model="resnet18"),
        classifier("fracatlas", model="resnet50"),
    ]
    record(tmp_path, "lisbon_resnet", runs)
    heads = [
        line.split(" | ")
        for line in comparison.beside("lisbon_resnet", folder=tmp_path).splitlines()
        if line.startswith("| resnet")
    ]
    assert [(head[0], len(head)) for head in heads] == [("| resnet18", 4), ("| resnet50", 3)]


def test_settings_of_an_old_run_are_those_of_its_command(tmp_path):
    command = (
        "keras-fracture reproduce garcia_inception --epochs 4 --set width=16 --set policies=grouped --seeds 3"
    )
    record(tmp_path, "garcia_inception", [classifier("fracatlas") | {"command": command}])
    assert "fracatlas, grouped split, quick, width 16 |" in comparison.beside(
        "garcia_inception", folder=tmp_path
    )


def test_of_many_runs_those_that_were_best_on_validation_are_shown(tmp_path):
    runs = [classifier(f"set_{number}") for number in range(6)]
    for run, value in zip(runs, (0.6, 0.1, 0.5, 0.2, 0.4, 0.3), strict=True):
        run["metrics"] = run["metrics"] | {"validation_auc": score(value), "auc": score(1 - value)}
    record(tmp_path, "garcia_inception", runs)
    text = comparison.beside("garcia_inception", folder=tmp_path)
    heads = [head.split(",")[0] for head in text.splitlines()[0].split(" | ")[2:]]
    assert heads == ["recorded 1: set_0", "recorded 2: set_2", "recorded 3: set_4", "recorded 4: set_5"]
    assert "2 more columns: `docs/papers/garcia_inception.md`" in text
    assert text.endswith("2. `command set_2`\n3. `command set_4`\n4. `command set_5`\n")


def test_the_papers_own_recipe_is_shown_however_good_others_are(tmp_path):
    runs = [classifier("a", variant="tuned", epochs=number) for number in range(1, 6)]
    runs += [classifier("a"), classifier("a", "paper", epochs=9), classifier("a", "paper", epochs=8)]
    for run, value in zip(runs, (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.2, 0.1), strict=True):
        run["metrics"] = run["metrics"] | {"validation_auc": score(value)}
    record(tmp_path, "garcia_inception", runs)
    heads = comparison.beside("garcia_inception", folder=tmp_path).splitlines()[0]
    assert heads.count("recorded") == 4 and heads.count(", tuned, ") == 3
    assert "a, grouped split, paper, 9 epochs" in heads


def test_of_each_data_set_and_split_the_best_run_is_shown_first(tmp_path):
    runs = [classifier("many", epochs=number) for number in range(1, 6)]
    runs += [classifier("other"), classifier("other") | {"split_policy": "paper"}]
    for run, value in zip(runs, (0.9, 0.8, 0.7, 0.6, 0.5, 0.2, 0.1), strict=True):
        run["metrics"] = run["metrics"] | {"validation_auc": score(value)}
    record(tmp_path, "garcia_inception", runs)
    heads = comparison.beside("garcia_inception", folder=tmp_path).splitlines()[0].split(" | ")[2:]
    told = [head.split(": ")[1].split(", ")[:2] for head in heads]
    assert sorted(told) == [
        ["many", "grouped split"], ["many", "grouped split"], ["other", "grouped split"], ["other", "paper split"],
    ]  # fmt: skip


def test_a_single_number_has_no_interval(tmp_path):
    one = classifier("fracatlas")
    one["metrics"]["train_accuracy"] = {"value": 0.9, "low": 0.9, "high": 0.9}
    one["reported"]["train_accuracy"] = 0.78
    record(tmp_path, "lisbon_resnet", [one])
    rows = rows_of(comparison.beside("lisbon_resnet", folder=tmp_path))
    assert rows["training accuracy, threshold 0.5"] == ["0.78", "0.900"]


def test_lisbons_precision_and_f1_stand_beside_ours_at_equal_classes(tmp_path):
    """Of fractures at FracAtlas's 17.6 % they cannot be; nor is the paper's accuracy that of test images."""
    values = {"recall": 0.6, "specificity": 0.8, "balanced_accuracy": 0.7, "precision": 0.39, "f1": 0.47}
    one = classifier("fracatlas", model="resnet34")
    one["metrics"] |= {name: {"value": value} for name, value in values.items()}
    earlier = {
        "accuracy": 0.77,
        "f1": 0.76,
        "precision": 0.78,
        "recall": 0.79,
    }  # as earlier versions recorded it
    record(tmp_path, "lisbon_resnet", [one | {"reported": earlier}])
    text = comparison.beside("lisbon_resnet", folder=tmp_path)
    rows = rows_of(text)
    assert rows["validation accuracy"][0] == "0.77" and rows["accuracy"][0] == ""
    assert rows["recall"] == ["0.79", "0.600"] and rows["balanced accuracy"] == ["", "0.700"]
    assert rows["precision"] == ["", "0.390"] and rows["F1"] == ["", "0.470"]
    assert rows["precision, as many fractures as healthy images"] == ["0.78", "0.750"]  # 0.6 / (0.6 + 0.2)
    assert rows["F1, as many fractures as healthy images"] == ["0.76", "0.667"]  # 1.2 / (1.2 + 0.2 + 0.4)
    assert text.count(LisbonResNet.COMPARED) == 1
    stale = text.replace("recorded 1:", "here:").replace("| accuracy |  |", "| accuracy | 0.77 |")
    fresh = comparison.refreshed("lisbon_resnet", stale, tmp_path)
    assert rows_of(fresh)["accuracy"][0] == "" and fresh.count(LisbonResNet.COMPARED) == 1


def test_where_nothing_is_recorded_it_says_so(tmp_path):
    assert comparison.beside("gupta_unit", folder=tmp_path) == "No run of `gupta_unit` is recorded yet.\n"


def test_a_damaged_file_is_not_taken_for_none(tmp_path):
    (tmp_path / "gupta_unit.json").write_text("{")
    with pytest.raises(OutputError, match="not a results file"):
        comparison.beside("gupta_unit", folder=tmp_path)


def test_losses_stand_beside_the_papers_first_and_last(tmp_path):
    measures = {name: {"value": 0.25, "real_vs_real": 0.125} for name in ("kid", "fid", "copies_features")}
    run = {
        "variant": "paper", "model": "dcgan", "data": "phantom", "split_policy": "paper", "profile": "quick",
        "command": "c",
        "losses": {name: {"first": 4.0, "last": 2.0} for name in ("g_loss", "d_loss")}, "metrics": measures,
        "reported": {"g_loss": [(1, 3.1), ((2, 9), (1, 2)), (9, 1.9)], "d_loss": [(1, 1.6), (9, 0.8)]},
    }  # fmt: skip
    record(tmp_path, "bai_dcgan", [run])
    rows = rows_of(comparison.beside("bai_dcgan", folder=tmp_path))
    assert rows["generator loss, first epoch"] == ["3.1", "4.0000"]
    assert rows["discriminator loss, last epoch"] == ["0.8", "2.0000"]
    assert rows["KID"][-1] == "0.2500 (real against real 0.1250)"


def test_arms_of_one_run_share_a_column(tmp_path):
    runs = [
        {
            "variant": arm, "stands_for": "tibia", "data": "btxrd", "part": "knee", "split_policy": "grouped",
            "profile": "quick", "metrics": {"auc": score(0.6)}, "command": "c", "reported": said,
        }
        for arm, said in (("baseline", {"auc": 0.618, "low": 0.532, "high": 0.705}), ("pool", None))
    ]  # fmt: skip
    record(tmp_path, "gupta_unit", runs)
    text = comparison.beside("gupta_unit", folder=tmp_path)
    assert text.startswith("| tibia | paper | recorded 1: btxrd, knee, grouped split, quick |\n")
    rows = rows_of(text)
    assert rows["baseline: AUC"] == ["0.618 (0.532 to 0.705)", "0.600 (0.500 to 0.700)"]
    assert rows["pool: AUC"][-1] == "0.600 (0.500 to 0.700)"


def test_a_run_that_was_cut_off_has_no_numbers_yet(tmp_path):
    with pytest.raises(OutputError, match="no finished run"):
        comparison.beside("gupta_unit", tmp_path, tmp_path)


def test_an_earlier_text_gets_the_runs_that_are_recorded_now(tmp_path):
    networks = ("resnet18", "resnet34")
    mine = [classifier("phantom", accuracy=0.7, model=name) for name in networks]
    (tmp_path / "metrics.json").write_text(json.dumps({"runs": mine}))
    record(tmp_path, "lisbon_resnet", [classifier("fracatlas", model="resnet34")])
    before = comparison.beside("lisbon_resnet", tmp_path, tmp_path)
    assert comparison.refreshed("lisbon_resnet", before, tmp_path) == before
    later = [classifier("btxrd", accuracy=0.6, model=name) for name in ("resnet34", "resnet50")]
    record(tmp_path, "lisbon_resnet", later)
    after = comparison.beside("lisbon_resnet", tmp_path, tmp_path)
    assert "btxrd" in after and "fracatlas" not in after
    assert comparison.refreshed("lisbon_resnet", before, tmp_path) == after
    alone = comparison.beside("lisbon_resnet", folder=tmp_path)
    assert comparison.refreshed("lisbon_resnet", "nothing was recorded then\n", tmp_path) == alone


def test_runs_from_before_the_mend_are_marked(tmp_path):
    runs = [classifier("fracatlas") | {"date": "2026-11-24"}, classifier("btxrd") | {"date": "2026-11-25"}]
    record(tmp_path, "garcia_inception", runs)
    head = comparison.beside("garcia_inception", folder=tmp_path).splitlines()[0]
    assert "fracatlas, grouped split, quick, *before the mend* |" in head
    assert "btxrd, grouped split, quick |" in head
