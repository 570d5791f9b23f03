import dataclasses
import json
import re

import keras
import pytest

from keras_fracture import cli, data, files, papers
from keras_fracture.data.datasets.phantom import layout as phantom_layout
from keras_fracture.errors import DataError, FractureError
from keras_fracture.experiment import runs
from keras_fracture.experiment.config import RENAMED, Config
from keras_fracture.papers.gupta_unit import experiment as gupta_unit
from keras_fracture.papers.gupta_unit import report as gupta_report
from keras_fracture.training import precision

pytestmark = pytest.mark.usefixtures("few_phantoms")


@pytest.mark.parametrize("places", [["--out", "/home/me/run", "--data-dir", "/data"], ["--out=/home/me/run"]])
def test_the_recorded_command_names_no_folder_of_this_machine(monkeypatch, places):
    words = ["/opt/bin/keras-fracture", "reproduce", "lisbon_resnet", *places, "--seed", "1"]
    monkeypatch.setattr("sys.argv", words)
    assert runs.provenance()["command"] == "keras-fracture reproduce lisbon_resnet --seed 1"


@dataclasses.dataclass(frozen=True)
class Seeing(Config):
    key = "seeing"


def test_an_experiment_runs_in_its_precision_and_leaves_none_behind(tmp_path):
    seen = []

    def execute(chosen):
        return runs.execute(
            Seeing(precision=chosen),
            "quick",
            lambda *_: seen.append(keras.config.dtype_policy().name),
            lambda *_: None,
            out=tmp_path / chosen,
        )

    for chosen in ("mixed_bfloat16", "float32"):
        execute(chosen)
    assert seen == ["mixed_bfloat16", "float32"] and keras.config.dtype_policy().name == "float32"
    with pytest.raises(FractureError, match=r"precision must be one of .* Received: 'float8'"):
        execute("float8")
    assert not (tmp_path / "float8").exists()


@pytest.mark.parametrize("trained", [False, True])
def test_a_run_refused_before_training_leaves_its_folder_to_the_corrected_one(tmp_path, trained):
    folder = tmp_path / "run"

    def refuse(_, run):
        if trained:
            files.write_bytes(files.folder(run.folder / "run-0") / "weights.h5", b"trained")
        assert (run.folder / "config.json").is_file()
        raise FractureError("the training split has fewer")

    def execute(seed, experiment):
        runs.execute(Seeing(seed=seed), "quick", experiment, lambda *_: None, out=folder)

    with pytest.raises(FractureError, match="has fewer"):
        execute(0, refuse)
    if trained:
        with pytest.raises(FractureError, match="holds a run already"):
            execute(1, lambda *_: None)
    else:
        execute(1, lambda *_: None)
    assert json.loads((folder / "config.json").read_text())["settings"]["seed"] == (0 if trained else 1)
    with pytest.raises(FractureError, match="holds a run already"):
        execute(2, refuse)
    assert (folder / "config.json").is_file()


@pytest.fixture
def seen(monkeypatch):
    """The configurations of gupta_unit that were asked to run; nothing is trained or written."""
    configs = []
    monkeypatch.setattr(gupta_unit, "run", lambda config, run: configs.append(config))
    monkeypatch.setattr(gupta_report, "write", lambda config, results, run: {"runs": []})
    return configs


def test_a_run_goes_on_in_the_precision_it_was_started_in(tmp_path, monkeypatch, seen):
    """Where "auto" is another one by then: else a training would be half the one and half the other."""
    rewritten = []
    monkeypatch.setattr(gupta_unit, "run", lambda *_: rewritten.append(precision.onednn_bfloat16(False)))
    for flags, resume in (("avx512_bf16", False), ("avx2", True)):
        monkeypatch.setattr(precision, "cpu_fields", lambda flags=flags: {"flags": flags})
        papers.reproduce(
            "gupta_unit", "smoke", out=tmp_path / "run", resume=resume, overrides=["precision=auto"]
        )
    assert rewritten == [True, True] and precision.onednn_bfloat16(False) is False
    assert json.loads((tmp_path / "run" / "config.json").read_text())["computed_in"] == "onednn_bfloat16"


@pytest.fixture
def run(tmp_path, seen):
    """The folder of a run of gupta_unit that did nothing, and the configurations that were asked to run."""
    overrides = ["unit_ema=None", "thresholds=0,0.5", "unit_batch=3"]
    papers.reproduce("gupta_unit", "smoke", out=tmp_path / "run", overrides=overrides, seed=5)
    return tmp_path / "run", seen


def test_a_run_of_an_earlier_version_goes_on_and_is_repeated_under_the_new_names(run, tmp_path):
    folder, seen = run
    path = folder / "config.json"
    old = {new: name for name, new in RENAMED.items()}
    config = json.loads(path.read_text())
    config["settings"] = {old.get(name, name): value for name, value in config["settings"].items()}
    assert {"rate", "decay", "unit_rate", "fewest", "passing"} <= set(config["settings"])
    path.write_text(json.dumps(config))
    papers.repeat(folder, out=tmp_path / "again")
    papers.repeat(folder, out=folder, resume=True)
    assert seen[1] == seen[2] == seen[0]


def test_a_resumed_run_of_an_earlier_version_says_its_other_settings_too(run):
    """Else its row would replace one of any settings."""
    folder, (config,) = run
    path = folder / "config.json"
    said = json.loads(path.read_text())
    assert set(said.pop("other_settings")) == {"unit_ema", "thresholds", "unit_batch"}
    path.write_text(json.dumps(said))
    resumed = runs.start(config, "smoke", folder, resume=True)
    assert resumed["other_settings"] == {"unit_ema": None, "thresholds": [0.0, 0.5], "unit_batch": 3}


def test_a_run_that_goes_on_under_other_versions_says_so_and_keeps_both(run, caplog):
    folder, (config,) = run
    path = folder / "config.json"
    said = json.loads(path.read_text())
    assert re.fullmatch(r"\d+\.\d+\.\d+ [0-9a-f]{8}", said["versions"]["keras_fracture"])
    runs.start(config, "smoke", folder, resume=True)
    assert json.loads(path.read_text()) == said and not caplog.messages
    before = {"versions": said["versions"] | {"tensorflow": "2.0.0", "keras_fracture": "0.0.1 0123abcd"}}
    path.write_text(json.dumps(said | before))
    for _ in range(2):
        runs.start(config, "smoke", folder, resume=True)
    assert "tensorflow 2.0.0, now 2." in caplog.text and "keras_fracture 0.0.1 0123abcd, now" in caplog.text
    assert json.loads(path.read_text()) == said | before | {"resumed_under": [said["versions"]]}
    assert runs.read_config(folder)["versions"] == before["versions"]


def test_a_run_from_before_the_package_recorded_itself_goes_on_under_another_version(run, caplog):
    folder, (config,) = run
    path = folder / "config.json"
    said = json.loads(path.read_text())
    now = said["versions"]
    said["versions"] = {name: version for name, version in now.items() if name != "keras_fracture"}
    path.write_text(json.dumps(said))
    runs.start(config, "smoke", folder, resume=True)
    assert caplog.messages[0].endswith(f"Received: keras_fracture unknown, now {now['keras_fracture']}")
    assert json.loads(path.read_text()) == said | {"resumed_under": [now]}


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
    assert sorted(path.name for path in folder.rglob("*")) == [
        "config.json",
        "figures",
        "report.html",
        "report.md",
    ]


def test_a_run_goes_on_and_is_repeated_on_the_same_images_alone(run, tmp_path, monkeypatch, capsys):
    folder, seen = run
    recorded = json.loads((folder / "config.json").read_text())["fingerprints"]
    assert list(recorded) == ["grouped"]
    assert recorded["grouped"] == {
        split: data.load("phantom", split).digest() for split in ("train", "validation", "test")
    }
    monkeypatch.setattr(phantom_layout, "SOURCES", (61, 48))
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
