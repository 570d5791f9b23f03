import dataclasses
import json
import re
import typing
from typing import ClassVar

import keras
import pytest

from keras_fracture import cli, data, files, papers
from keras_fracture.data.datasets.phantom import phantom_dataset_builder
from keras_fracture.errors import DataError, FractureError
from keras_fracture.papers import recipe
from keras_fracture.papers.gupta_unit import GuptaUNIT
from keras_fracture.papers.lisbon_resnet import LisbonResNet
from keras_fracture.training import precision

pytestmark = pytest.mark.usefixtures("few_phantoms")


def test_settings_take_the_type_of_the_recipes_own():
    found = recipe.settings_of(
        LisbonResNet,
        ["image_size=112", "learning_rate=1", "augment=True", "policies=paper,grouped", "data=phantom"],
    )
    assert found == {
        "image_size": 112,
        "learning_rate": 1.0,
        "augment": True,
        "policies": ("paper", "grouped"),
        "data": "phantom",
    }
    assert isinstance(found["learning_rate"], float)
    assert recipe.settings_of(GuptaUNIT, ["thresholds=0.5"]) == {"thresholds": (0.5,)}
    assert recipe.settings_of(GuptaUNIT, ["thresholds=0,0.9"]) == {"thresholds": (0.0, 0.9)}


@pytest.mark.parametrize(
    "text",
    ["size=112", "image_size", "image_size=large", "augment=1", "learning_rate=True", "learning_rate=None"],
)
def test_a_setting_that_is_none_is_refused(text):
    with pytest.raises(FractureError, match="Received"):
        recipe.settings_of(LisbonResNet, [text])


@pytest.mark.parametrize("places", [["--out", "/home/me/run", "--data-dir", "/data"], ["--out=/home/me/run"]])
def test_the_recorded_command_names_no_folder_of_this_machine(monkeypatch, places):
    words = ["/opt/bin/keras-fracture", "reproduce", "lisbon_resnet", *places, "--seed", "1"]
    monkeypatch.setattr("sys.argv", words)
    assert recipe.provenance()["command"] == "keras-fracture reproduce lisbon_resnet --seed 1"


def test_none_can_be_asked_for(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(GuptaUNIT, "run", lambda chosen, out, data_dir: seen.append(chosen))
    papers.reproduce("gupta_unit", "smoke", out=tmp_path / "run", overrides=["unit_ema=None"], seed=None)
    assert seen[0].unit_ema is None and seen[0].seed == GuptaUNIT.seed


def test_gupta_unit_needs_a_translator():
    with pytest.raises(FractureError, match=r"translators of gupta_unit must be 1 or more. Received: 0"):
        GuptaUNIT(translators=0)


@pytest.mark.parametrize("key", papers.keys())
def test_every_number_of_every_recipe_is_checked(key):
    kind = papers.get(key)
    wrong = {int: (-1, 1.5, True, float("nan")), float: (-0.1, float("nan"), float("inf"), "1"), tuple: ((),)}
    checked = set()
    for profile in recipe.PROFILES:
        recipe.configure(kind, profile)
    chosen = recipe.configure(kind, "smoke")
    for field in dataclasses.fields(kind):
        kinds = set(typing.get_args(field.type)) or {field.type}
        for value in [one for each in kinds - {type(None)} for one in wrong.get(each, (3,))]:
            with pytest.raises(FractureError, match=rf"{field.name} of {key}.* Received: ") as caught:
                dataclasses.replace(chosen, **{field.name: value})
            assert "\n" not in str(caught.value)
            checked.add(field.name)
    assert {"seed", "seeds", "batch_size", "precision"} <= checked == set(chosen.__dict__)


@pytest.mark.parametrize(
    ("key", "name", "value", "words"),
    [
        ("lisbon_resnet", "epochs", 0, "epochs of lisbon_resnet must be 1 or more. Received: 0"),
        (
            "lisbon_resnet",
            "learning_rate",
            0.0,
            "learning_rate of lisbon_resnet must be above 0. Received: 0.0",
        ),
        ("lisbon_resnet", "smoothing", 1.5, "0 or more and at most 1. Received: 1.5"),
        ("bai_dcgan", "ema", 0.0, "above 0 and at most 1. Received: 0.0"),
        ("bai_dcgan", "steps", 0, "steps of bai_dcgan must be 1 or more. Received: 0"),
        ("gupta_unit", "exponents", (1.0, -2.0), "Each of exponents .* above 0. Received: -2.0"),
        ("gupta_unit", "widths", (4, 0), "Each of widths .* 1 or more. Received: 0"),
        ("gupta_unit", "epochs", None, "epochs of gupta_unit must be a whole number. Received: None"),
        ("ibrahim_gan", "policies", "paper", "must hold one value or more. Received: 'paper'"),
    ],
)
def test_settings_that_no_run_means_are_refused(key, name, value, words):
    with pytest.raises(FractureError, match=words):
        dataclasses.replace(recipe.configure(papers.get(key), "smoke"), **{name: value})


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--epochs", "0"], "epochs of lisbon_resnet must be 1 or more. Received: 0"),
        (["--seeds", "-1"], "seeds of lisbon_resnet must be 1 or more. Received: -1"),
        (["--set", "learning_rate=1e999"], "learning_rate of lisbon_resnet must be above 0. Received: inf"),
    ],
)
def test_they_are_refused_on_the_command_line_before_a_folder_is_made(tmp_path, capsys, words, wanted):
    command = ["reproduce", "lisbon_resnet", "--profile", "smoke", "--out", str(tmp_path / "run"), *words]
    assert cli.main(command) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and wanted in said
    assert not (tmp_path / "run").exists()


def test_a_recipe_runs_in_its_precision_and_leaves_none_behind(tmp_path, monkeypatch):
    seen = []

    @dataclasses.dataclass(frozen=True)
    class Seeing(recipe.Recipe):
        key = "seeing"
        PROFILES: ClassVar = {"quick": {}}

        def run(self, out, data_dir=None):
            seen.append(keras.config.dtype_policy().name)

    monkeypatch.setattr(papers, "get", lambda key: Seeing)
    for chosen in ("mixed_bfloat16", "float32"):
        papers.reproduce("seeing", out=tmp_path / chosen, overrides=[f"precision={chosen}"])
    assert seen == ["mixed_bfloat16", "float32"] and keras.config.dtype_policy().name == "float32"
    with pytest.raises(FractureError, match=r"precision must be one of .* Received: 'float8'"):
        papers.reproduce("seeing", out=tmp_path / "none", overrides=["precision=float8"])
    assert not (tmp_path / "none").exists()


def test_a_run_goes_on_in_the_precision_it_was_started_in(tmp_path, monkeypatch):
    """Where "auto" is another one by then: else a training would be half the one and half the other."""
    seen = []
    monkeypatch.setattr(GuptaUNIT, "run", lambda *_: seen.append(precision.onednn_bfloat16(False)))
    for flags, resume in (("avx512_bf16", False), ("avx2", True)):
        monkeypatch.setattr(precision, "cpu_fields", lambda flags=flags: {"flags": flags})
        papers.reproduce(
            "gupta_unit", "smoke", out=tmp_path / "run", resume=resume, overrides=["precision=auto"]
        )
    assert seen == [True, True] and precision.onednn_bfloat16(False) is False
    assert json.loads((tmp_path / "run" / "config.json").read_text())["computed_in"] == "onednn_bfloat16"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The folder of a run of gupta_unit that did nothing, and the recipes that were asked to run."""
    seen = []
    monkeypatch.setattr(GuptaUNIT, "run", lambda chosen, out, data_dir: seen.append(chosen))
    overrides = ["unit_ema=None", "thresholds=0,0.5", "unit_batch=3"]
    papers.reproduce("gupta_unit", "smoke", out=tmp_path / "run", overrides=overrides, seed=5)
    return tmp_path / "run", seen


@pytest.mark.parametrize("name", ["", "config.json"])
def test_a_run_is_repeated_with_all_its_settings(run, tmp_path, name):
    folder, seen = run
    papers.repeat(folder / name, out=tmp_path / "again")
    assert seen[1] == seen[0] and seen[0].seed == 5 and seen[0].thresholds == (0.0, 0.5)
    configs = [json.loads((one / "config.json").read_text()) for one in (folder, tmp_path / "again")]
    assert configs[0]["settings"] == configs[1]["settings"] and configs[1]["profile"] == "smoke"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda config: "{", "records no run"),
        (lambda config: "[]", "records no run"),
        (lambda config: json.dumps({"paper": "gupta_unit"}), "records no run.*profile"),
        (lambda config: json.dumps(config | {"settings": 3}), "records no run"),
        (lambda config: json.dumps(config | {"fingerprints": 3}), "records no run"),
        (lambda config: json.dumps(config | {"fingerprints": {"grouped": 3}}), "records no run"),
        (lambda config: json.dumps(config | {"fingerprints": {}}), "with other images.*Expected: None"),
        (lambda config: json.dumps(config | {"paper": "none"}), "No such paper"),
        (lambda config: json.dumps(config | {"settings": {"seed": 1}}), "not the settings"),
        (lambda config: json.dumps(config | {"settings": config["settings"] | {"size": 1}}), "size"),
        (
            lambda config: json.dumps(config | {"settings": config["settings"] | {"seed": "1"}}),
            "seed.*is a int",
        ),
        (
            lambda config: json.dumps(config | {"settings": config["settings"] | {"translators": 0}}),
            "1 or more",
        ),
    ],
)
def test_what_records_no_run_is_one_line(run, tmp_path, capsys, change, words):
    path = run[0] / "config.json"
    path.write_text(change(json.loads(path.read_text())))
    assert cli.main(["reproduce", "--from", str(path), "--out", str(tmp_path / "again")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert re.search(words, said)
    assert not (tmp_path / "again").exists() and len(run[1]) == 1


def test_a_run_folder_is_written_by_one_process(run, tmp_path, capsys):
    folder, seen = run
    words = ["reproduce", "--from", str(folder), "--out", str(folder), "--resume"]
    with files.locked(folder / ".lock"):
        assert cli.main(words) == 2
        said = capsys.readouterr().err
        assert (
            said
            == f"keras-fracture: {folder} is written by another process: wait for it, or name another folder\n"
        )
    (folder / "figures").mkdir()
    (folder / "figures" / ".123-loss.png").write_bytes(b"half")
    (folder / "report.md").write_text("whole")
    assert cli.main(words) == 0 and len(seen) == 2
    assert sorted(path.name for path in folder.rglob("*")) == ["config.json", "figures", "report.md"]


def test_a_run_goes_on_and_is_repeated_on_the_same_images_alone(run, tmp_path, monkeypatch, capsys):
    folder, seen = run
    recorded = json.loads((folder / "config.json").read_text())["fingerprints"]
    assert list(recorded) == ["grouped"]
    assert recorded["grouped"] == {
        split: data.load("phantom", split).digest for split in ("train", "validation", "test")
    }
    monkeypatch.setattr(phantom_dataset_builder.Builder, "SOURCES", 61)
    monkeypatch.setenv("KERAS_FRACTURE_CACHE", str(tmp_path / "cache"))
    for out, words in ((folder, ["--resume"]), (tmp_path / "again", [])):
        assert cli.main(["reproduce", "--from", str(folder), "--out", str(out), *words]) == 2
        said = capsys.readouterr().err.split("\r")[-1].strip().splitlines()[-1]
        assert said.startswith("keras-fracture: ") and "records a run with other images" in said
        assert f"Expected: {recorded['grouped']['train']} of grouped/train. Received: " in said
    with pytest.raises(DataError, match=f"{folder} was started with other images"):
        papers.reproduce("gupta_unit", "smoke", out=folder, resume=True, seed=5,
                         overrides=["unit_ema=None", "thresholds=0,0.5", "unit_batch=3"])  # fmt: skip
    assert len(seen) == 1 and not (tmp_path / "again").exists()


@pytest.mark.parametrize("content", ["", "{}", "[1]", "[" * 100_000])
def test_a_damaged_config_is_named_when_a_run_is_resumed_or_exported(run, capsys, content):
    folder, seen = run
    (folder / "config.json").write_text(content)
    (folder / "metrics.json").write_text("{}")
    for words in (
        ["reproduce", "gupta_unit", "--profile", "smoke", "--out", str(folder), "--resume"],
        ["export", str(folder), "--to", str(folder / "exported")],
    ):
        assert cli.main(words) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and str(folder) in said and "Traceback" not in said
    assert len(seen) == 1 and not (folder / "exported").exists()


@pytest.mark.parametrize("words", [[], ["gupta_unit", "--from", "x"], ["--from", "x", "--seed", "1"]])
def test_a_paper_or_a_run_is_named_and_not_both(words, capsys):
    assert cli.main(["reproduce", *words]) == 2
    assert "--from" in capsys.readouterr().err
