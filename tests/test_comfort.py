"""The command line when one mistypes, asks for nothing, presses TAB, or wants it quiet."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from keras_fracture import cli, models, papers
from keras_fracture.cli import completion, verbs
from keras_fracture.cli import run as run_parser
from keras_fracture.data import catalogue
from keras_fracture.errors import meant
from keras_fracture.progress import Bar


def run(capsys, *arguments):
    """Exit code, stdout and stderr of one command."""
    try:
        code = cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("name", "known", "words"),
    [
        ("FracAtlas", catalogue.NAMES, "Did you mean fracatlas? "),
        ("ibrahim_gna", papers.names(), "Did you mean ibrahim_gan? "),
        ("mimic", catalogue.NAMES, ""),
        ("x", (), ""),
        (None, {"grouped": 1}, ""),
    ],
)
def test_what_was_meant_is_the_name_most_alike(name, known, words):
    assert meant(name, known) == words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predcit", "x.png"], "Did you mean predict? Received: 'predcit'"),
        (["data", "prepar"], "keras-fracture data: argument COMMAND: Choose one of list, check, add, prepare, "),
        (["predict", "x.png", "--modle=x"], "Did you mean --model? Received: --modle=x"),
        (["--debgu", "data", "list"], "Did you mean --debug? Received: --debgu"),
        (["data", "list", "\x1b[31mred"], r"no such arguments. Received: \x1b[31mred (see keras-fracture data list"),
        (["data", "prepare", "fracatlsa"], "Did you mean fracatlas? Received: 'fracatlsa'"),
        (["data", "prepare", "phantom", "--policy", "group"], "Did you mean grouped? Received: 'group'"),
        (["reproduce", "lisbon_resnt"], "Did you mean lisbon_resnet? Received: 'lisbon_resnt'"),
        (["reproduce", "bai_dcgan", "--profile", "quik"], "Did you mean quick? Received: 'quik'"),
        (["reproduce", "bai_dcgan", "--variant", "moder"], "Did you mean modern? Received: 'moder'"),
        (["reproduce", "bai_dcgan", "--set", "epoch=3"], "Did you mean epochs? Received: 'epoch=3'"),
        (["serve", "compact_cn", "--write-config", "file"], "Did you mean compact_cnn? Received: 'compact_cn'"),
        (["export", "--model", "resnet81", "--to", "there"], "Did you mean resnet18? Received: 'resnet81'"),
    ],
)  # fmt: skip
def test_a_mistyped_name_is_one_line_that_says_what_was_meant(
    capsys, tmp_path, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)
    code, out, error = run(capsys, *arguments)
    assert code == 2 and out == ""
    assert words in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_names_in_python_are_refused_alike():
    with pytest.raises(ValueError, match=r"Did you mean compact_cnn\? Received: 'compactcnn'$"):
        models.create("compactcnn")


@pytest.mark.parametrize(
    ("arguments", "usage"),
    [([], "keras-fracture"), (["data"], "keras-fracture data"), (["models"], "keras-fracture models")],
)
def test_a_command_without_what_it_is_to_do_shows_its_help(capsys, arguments, usage):
    code, out, error = run(capsys, *arguments)
    assert (code, error) == (0, "")
    assert out.startswith(f"usage: {usage} [-h]") and " list " in out


def test_benchmarks_without_a_name_show_their_help(capsys):
    assert benchmarks.main([]) == 0
    assert capsys.readouterr().out.startswith("usage: python -m benchmarks [-h]")


@pytest.mark.parametrize("where", ["before", "behind", "nowhere"])
def test_quiet_leaves_results_alone(capsys, tmp_path, where):
    weights = tmp_path / "net.weights.h5"
    net = models.create("compact_cnn", image_size=32)
    net.save_weights(weights)
    command = ["convert", weights, "--model", "compact_cnn", "--set", "image_size=32"]
    command += ["--to", tmp_path / "net.safetensors"]
    quiet = {"before": ["--quiet", *command], "behind": [*command, "--quiet"], "nowhere": command}[where]
    code, out, error = run(capsys, *quiet)
    assert (code, error) == (0, "")
    assert out == ("" if where != "nowhere" else f"wrote {tmp_path / 'net.safetensors'}\n")
    assert (tmp_path / "net.safetensors").stat().st_size > 4 * net.count_params()
    assert run(capsys, "--quiet", "models", "list")[1].startswith(" ")  # a result


@pytest.mark.parametrize(("arguments", "log"), [([], "stage: 3 runs\n"), (["--quiet"], "")])
def test_quiet_holds_for_all_that_a_command_calls(monkeypatch, capsys, arguments, log):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    parser = verbs.parser("program", "does three things", "program")
    parser.set_defaults(command=lambda _: print(sum(Bar(range(3), "stage", unit=" runs"))))
    assert run_parser(parser, arguments) == 0
    assert capsys.readouterr() == ("3\n", log)


def test_names_are_completed_by_what_they_are_of():
    assert set(completion._names("data", "reproduce")) >= set(catalogue.NAMES)
    assert "compact_cnn" in completion._names("model", "predict")
    assert completion._names("model", "convert") == completion._names("name", "add") == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("keras-fracture pre", "predict"),
        ("keras-fracture score --thr", "--threshold"),
        ("keras-fracture data audit kag", "kaggle_fracture kaggle_regions"),
        ("keras-fracture reproduce bai", "bai_dcgan"),
        ("keras-fracture predict --model comp", "compact_cnn"),
        ("keras-fracture predict han", "hand.png"),
    ],
)
def test_tab_completes(tmp_path, typed, completed):
    pytest.importorskip("argcomplete")
    (tmp_path / "hand.png").touch()
    asked = {"COMP_LINE": typed, "COMP_POINT": str(len(typed)), "COMP_TYPE": "9", "_ARGCOMPLETE": "1"}
    asked |= {"_ARGCOMPLETE_IFS": " ", "_ARGCOMPLETE_SUPPRESS_SPACE": "1"}
    # A shell reads the answer from the eighth stream.
    command = ["bash", "-c", f"{sys.executable} -m keras_fracture.cli 8>&1 9>/dev/null >/dev/null"]
    environment = os.environ | asked | {"PYTHONPATH": str(Path(cli.__file__).parents[2])}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == completed
