"""The command line of the benchmarks."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from benchmarks import __main__ as commands
from keras_fracture.errors import FractureError

CHECKOUT = Path(commands.__file__).parents[1]


def test_all_benchmarks_run_with_their_own_defaults(monkeypatch):
    run = {}
    for name in commands.NAMES:
        monkeypatch.setattr(commands, f"run_{name}", lambda options, name=name: run.update({name: options}))
    assert commands.main(["all", "--data", "fracatlas"]) == 0
    # There is no file to read schedules from.
    assert list(run) == [name for name in commands.NAMES if name != "schedules"]
    assert (run["models"].steps, run["data"].count, run["serving"].count) == (20, 3000, 500)
    assert run["data"].data == run["serving"].data == "fracatlas" and run["server"].clients == 8
    assert commands.main(["all", "--json", "benchmark.json"]) == 0
    assert run["schedules"].json == run["models"].json == "benchmark.json"


@pytest.mark.parametrize("name", [*commands.NAMES, "all"])
def test_help_has_an_example(name, capsys):
    with pytest.raises(SystemExit) as stop:
        commands.main([name, "--help"])
    assert stop.value.code == 0
    assert f"example: python -m benchmarks {name}" in capsys.readouterr().out


def test_help_names_every_benchmark_and_does_not_import_tensorflow():
    code = """
        import runpy, sys

        sys.argv[1:] = ["--help"]
        try:
            runpy.run_module("benchmarks", run_name="__main__")
        except SystemExit as stop:
            assert stop.code == 0
        assert not {"tensorflow", "keras", "torch", "pandas"} & set(sys.modules)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    out = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert out.startswith("usage: python -m benchmarks ")
    assert all(re.search(rf"^    {name}\s", out, re.M) for name in (*commands.NAMES, "all"))


def test_an_error_is_one_line_unless_debugged(capsys):
    assert commands.main(["schedules"]) == 2
    assert capsys.readouterr().err == (
        "python -m benchmarks: --json must name the file that `models --json` wrote. Received: nothing\n"
    )
    with pytest.raises(FractureError, match="--json must name the file"):
        commands.main(["--debug", "schedules"])


def test_an_interruption_is_one_line(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "run_startup", interrupted)
    assert commands.main(["startup"]) == 130
    assert capsys.readouterr().err == "python -m benchmarks: stopped\n"


def test_what_is_recorded_names_the_command(monkeypatch):
    from benchmarks.conditions import conditions

    program = str(CHECKOUT / "benchmarks" / "__main__.py")
    monkeypatch.setattr(sys, "argv", [program, "data", "--data-dir", "/here", "--count", "5"])
    assert conditions()["command"] == "python -m benchmarks data --count 5"
