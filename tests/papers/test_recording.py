"""Which rows and figures a recorded run replaces in `results/`."""

import json

import pytest

from keras_fracture.experiment.config import configure
from keras_fracture.papers import tables
from keras_fracture.papers.ibrahim_gan.config import Config
from keras_fracture.papers.ibrahim_gan.table import unlike_profile
from keras_fracture.report import results
from tests.papers.recorded import CONFIG, run


def test_a_repeated_run_replaces_its_numbers_and_no_others(tmp_path):
    results.record(tmp_path, CONFIG, {"runs": [run("original", 0.5), run("synthetic", 0.6)]}, tmp_path)
    path = results.record(
        tmp_path, CONFIG | {"date": "2026-02-03"}, {"runs": [run("synthetic", 0.7)]}, tmp_path
    )
    kept = {entry["variant"]: entry for entry in json.loads(path.read_text())["runs"]}
    assert kept["original"]["metrics"]["accuracy"]["value"] == 0.5
    assert kept["synthetic"]["metrics"]["accuracy"]["value"] == 0.7
    assert kept["synthetic"]["date"] == "2026-02-03"


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ({"width": 8}, {"width": 8}, [0.6]),
        ({"width": 8}, {"width": 16}, [0.5, 0.6]),
        ({}, {"width": 16}, [0.5, 0.6]),
        (None, {}, [0.6]),  # of an earlier version
        (None, {"width": 16}, [0.5, 0.6]),
        ({"width": 16}, None, [0.5, 0.6]),
    ],
)
def test_a_run_with_other_settings_replaces_nothing(tmp_path, before, after, kept):
    for settings, accuracy in ((before, 0.5), (after, 0.6)):
        config = CONFIG if settings is None else CONFIG | {"other_settings": settings}
        results.record(tmp_path, config, {"runs": [run("original", accuracy)]}, tmp_path)
    runs = results.read(tmp_path / "ibrahim_gan.json")["runs"]
    assert [one["metrics"]["accuracy"]["value"] for one in runs] == kept
    assert ("quick, width 16, 3" in tables.generate(tmp_path, "ibrahim_gan")) == (
        {"width": 16} in (before, after)
    )


def test_a_row_of_an_earlier_version_tells_by_its_command_how_xrays_were_read(tmp_path):
    config = CONFIG | {
        "other_settings": {},
        "command": f"{CONFIG['command']} --finding tumour --patient '(p)_'",
    }
    results.record(tmp_path, config, {"runs": [run("original", 0.5)]}, tmp_path)
    read = {"settings": {"finding": "tumour", "patient": "(p)_"}}
    results.record(tmp_path, config | read, {"runs": [run("original", 0.6)]}, tmp_path)
    runs = results.read(tmp_path / "ibrahim_gan.json")["runs"]
    assert [one["metrics"]["accuracy"]["value"] for one in runs] == [0.6]


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ({"finding": "fracture"}, {"finding": "tumour"}, [0.5, 0.6]),
        ({"patient": "p1"}, {}, [0.5, 0.6]),
        ({"finding": "fracture"}, {"finding": "fracture"}, [0.6]),
        ({"splits": "a.csv"}, {"splits": "a.csv"}, [0.5, 0.6]),  # that holds another split by now
        ({}, {}, [0.6]),  # the same data set, mended
    ],
)
def test_a_run_on_xrays_read_otherwise_replaces_nothing(tmp_path, before, after, kept):
    for number, reading in enumerate((before, after)):
        config = CONFIG | {
            "settings": reading,
            "other_settings": {},
            "split_digests": {"grouped": f"{number}"},
        }
        content = run("original", (0.5, 0.6)[number]) | {"split_policy": "grouped"}
        results.record(tmp_path, config, {"runs": [content]}, tmp_path)
    runs = results.read(tmp_path / "ibrahim_gan.json")["runs"]
    assert [one["metrics"]["accuracy"]["value"] for one in runs] == kept


@pytest.mark.parametrize(
    ("before", "after", "settings", "kept"),
    [
        ("--epochs 3 --resume --results results", "--set precision=auto --epochs 3", {}, [0.6]),
        ("--epochs 3", "--set precision=auto --epochs 3 --set width=16", {"width": 16}, [0.5, 0.6]),
        ("--set width=16", "--set precision=auto --set width=16", {"width": 16}, [0.6]),
        ("--set width=16 --results results", "--set width=8", {"width": 8}, [0.5, 0.6]),
        (
            "--set width=16",
            "--set width=16 --pretrained hands",
            {"width": 16, "pretrained": "hands"},
            [0.5, 0.6],
        ),
    ],
)
def test_of_a_run_that_recorded_no_settings_the_command_tells_them(tmp_path, before, after, settings, kept):
    for words, others, accuracy in ((before, {}, 0.5), (after, {"other_settings": settings}, 0.6)):
        config = CONFIG | {"command": f"keras-fracture reproduce ibrahim_gan {words}"} | others
        results.record(tmp_path, config, {"runs": [run("original", accuracy)]}, tmp_path)
    runs = results.read(tmp_path / "ibrahim_gan.json")["runs"]
    assert [one["metrics"]["accuracy"]["value"] for one in runs] == kept


def test_a_posters_run_of_other_epochs_replaces_no_row_of_an_earlier_version(tmp_path):
    """Which says neither pixels nor epochs, as a run with the profile's does."""
    for settings, accuracy in (({}, 0.5), ({"epochs": 1}, 0.6), ({"image_size": 32}, 0.7), ({}, 0.8)):
        sizes = unlike_profile(configure(Config, "quick", **settings), "quick")
        assert sizes == settings
        results.record(tmp_path, CONFIG, {"runs": [run("original", accuracy) | sizes]}, tmp_path)
    runs = results.read(tmp_path / "ibrahim_gan.json")["runs"]
    assert [one["metrics"]["accuracy"]["value"] for one in runs] == [0.6, 0.7, 0.8]
    rows = tables.generate(tmp_path, "ibrahim_gan").splitlines()[2:5]
    assert [row.split(" | ")[-2] for row in rows] == ["quick, epochs 1, 3", "quick, 32 pixels, 3", "quick, 3"]


def test_numbers_of_an_earlier_version_are_read_by_their_new_names(tmp_path):
    (tmp_path / "judged.png").write_bytes(b"a figure")
    old = run("original", 0.5) | {"kid": {"floor": 0.1, "pictures": 3}}
    path = results.record(tmp_path, CONFIG, {"runs": [old], "figures": ["judged.png"]}, tmp_path)
    (entry,) = results.read(path)["runs"]
    assert entry["kid"] == {"real_vs_real": 0.1, "images": 3}
    assert (tmp_path / "ibrahim_gan" / "phantom" / "original" / "metrics-over-epochs.png").is_file()


def test_results_of_other_parts_stand_beside_each_other(tmp_path):
    for part, accuracy in (("tibia", 0.1), ("femur", 0.2), ("tibia", 0.3)):
        results.record(tmp_path, CONFIG, {"runs": [run("augmented", accuracy) | {"part": part}]}, tmp_path)
    kept = results.read(tmp_path / "ibrahim_gan.json")["runs"]
    assert [(one["part"], one["metrics"]["auc"]["value"]) for one in kept] == [("femur", 0.2), ("tibia", 0.3)]


def test_figures_of_other_data_stand_beside_each_other(tmp_path):
    (tmp_path / "auc.png").write_bytes(b"a figure")
    for data in ("btxrd", "phantom"):
        compared = [run(variant, 0.5) | {"data": data} for variant in ("original", "synthetic")]
        results.record(tmp_path, CONFIG, {"runs": compared, "figures": ["auc.png"]}, tmp_path)
    results.record(tmp_path, CONFIG, {"runs": [run("original", 0.5)], "figures": ["auc.png"]}, tmp_path)
    kept = {path.relative_to(tmp_path / "ibrahim_gan").as_posix() for path in tmp_path.rglob("*/*.png")}
    assert kept == {"btxrd/auc.png", "phantom/auc.png", "phantom/original/auc.png"}


def test_own_xrays_in_folders_of_one_name_stand_beside_each_other(tmp_path):
    for number, root in enumerate("abb"):
        config = CONFIG | {"settings": {"data": str(tmp_path / root / "images")}, "other_settings": {}}
        (tmp_path / "auc.png").write_bytes(root.encode())
        content = run("original", (0.5, 0.6, 0.7)[number]) | {"data": "images"}
        results.record(tmp_path, config, {"runs": [content], "figures": ["auc.png"]}, tmp_path)
    runs = results.read(tmp_path / "ibrahim_gan.json")["runs"]
    assert [one["metrics"]["accuracy"]["value"] for one in runs] == [0.5, 0.7]
    assert [(tmp_path / one["figures"] / "auc.png").read_bytes() for one in runs] == [b"a", b"b"]


def test_the_numbers_of_every_epoch_stay_beside_the_figures_that_show_them(tmp_path):
    for number, size in enumerate((112, 224)):
        (tmp_path / "losses.png").write_bytes(b"a figure")
        (tmp_path / "history.csv").write_text(f"epoch,kid\n{number},0.5\n", encoding="utf-8")
        content = run("original", 0.5) | {"image_size": size}
        results.record(tmp_path, CONFIG, {"runs": [content], "figures": ["losses.png"]}, tmp_path)
    folders = [one["figures"] for one in results.read(tmp_path / "ibrahim_gan.json")["runs"]]
    kept = [(tmp_path / folder / "history.csv").read_text(encoding="utf-8") for folder in folders]
    assert kept == ["epoch,kid\n0,0.5\n", "epoch,kid\n1,0.5\n"]


def test_a_run_that_replaces_no_row_replaces_no_figure(tmp_path):
    sizes = (112, 224, 112)
    for number, size in enumerate(sizes):
        (tmp_path / "roc.png").write_bytes(b"%d" % number)
        content = run("original", 0.5) | {"image_size": size}
        results.record(tmp_path, CONFIG, {"runs": [content], "figures": ["roc.png"]}, tmp_path)
        if not number:  # as an earlier version recorded it
            path = tmp_path / "ibrahim_gan.json"
            old = results.read(path)
            old["runs"][0].pop("figures")
            path.write_text(json.dumps(old))
    runs = results.read(tmp_path / "ibrahim_gan.json")["runs"]
    assert [one["image_size"] for one in runs] == [224, 112]
    assert [(tmp_path / one["figures"] / "roc.png").read_bytes() for one in runs] == [b"1", b"2"]
    assert runs[1]["figures"] == "ibrahim_gan/phantom/original"
