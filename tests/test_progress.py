"""Progress on terminals and in logs."""

import ast
import io
import os
import pty
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from keras_fracture import progress
from keras_fracture.progress import Bar

PACKAGE = Path(progress.__file__).parent
BESIDE = Path(benchmarks.__file__).parent


def in_a_log(monkeypatch):
    """What goes to standard error from now on."""
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    return sys.stderr


def run_python(code, terminal, **settings):
    """What a program that prints no more than a line shows on both streams."""
    environment = {name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"} | settings
    command = [sys.executable, "-c", f"from keras_fracture.progress import Bar\n{code}"]
    if not terminal:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout + done.stderr
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (24, 80))
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=child, check=True)
    os.write(child, b"end")  # a read from a terminal of which nothing came would wait
    shown = os.read(parent, 1 << 16)
    os.close(child)
    os.close(parent)
    return (done.stdout + shown).decode()


def test_a_log_gets_one_line_a_stage(monkeypatch):
    log = in_a_log(monkeypatch)
    for stage in ("first", "\x1b[31msecond"):
        bar = Bar(range(1500), stage, unit=" runs")
        assert log.getvalue().endswith(": 1,500 runs\n"), "before the work begins"
        assert sum(bar) == sum(range(1500))
    assert log.getvalue() == "first: 1,500 runs\n\\x1b[31msecond: 1,500 runs\n"


def test_a_bar_that_is_moved_by_hand_gets_one_line_too(monkeypatch):
    log = in_a_log(monkeypatch)
    with Bar(title="DCGAN", total=30, initial=10, unit=" epochs") as bar:
        bar.set_postfix({"loss": "0.1"}, refresh=False)
        bar.update()
    with Bar(title="archive", total=2_500_000, unit="B", unit_scale=True) as bar:
        bar.update(10)
    assert list(Bar(iter("ab"), "unknown", unit=" files")) == ["a", "b"]
    assert not list(Bar([], "nothing to do", unit=" files"))
    assert log.getvalue() == "DCGAN: 30 epochs, 10 of them done before\narchive: 2.50MB\nunknown\n"


def test_a_short_stage_is_not_worth_a_line(monkeypatch):
    log = in_a_log(monkeypatch)
    assert list(Bar("abc", "short", unit=" files", delay=60)) == [*"abc"]
    assert log.getvalue() == ""
    for _ in Bar(range(3), "long", unit=" files", delay=0.01):
        time.sleep(0.02)
    assert log.getvalue() == "long: 3 files\n"


def test_a_terminal_gets_a_bar():
    shown = run_python("print(list(Bar('abc', 'letters', unit=' letters')))", terminal=True)
    assert "\rletters: " in shown and "3/3" in shown and "['a', 'b', 'c']" in shown
    assert "letters: 3 letters" not in shown


def test_what_is_not_to_be_shown_is_not(monkeypatch, capsys):
    log = in_a_log(monkeypatch)
    assert list(Bar("abc", "hidden", unit=" letters", shown=False)) == [*"abc"]
    with progress.quiet():
        assert list(Bar("abc", "quiet", unit=" letters")) == [*"abc"]
        progress.say("quiet")
    assert log.getvalue() == "" and capsys.readouterr().out == ""
    progress.say("again")
    assert capsys.readouterr().out == "again\n"
    code = """
from keras_fracture import progress
print(list(Bar("abc", "hidden", unit=" letters", shown=False)))
with progress.quiet():
    list(Bar("abc", "quiet", unit=" letters"))
"""
    assert run_python(code, terminal=True) == "['a', 'b', 'c']\nend"


@pytest.mark.parametrize("terminal", [False, True])
def test_tqdms_own_switch_works(terminal):
    code = "print(list(Bar('abc', 'letters', unit=' letters')))"
    assert "letters: " in run_python(code, terminal)
    shown = run_python(code, terminal, TQDM_DISABLE="1")
    assert shown == "['a', 'b', 'c']\n" + "end" * terminal


def test_all_bars_are_of_this_kind():
    files = [path for root in (PACKAGE, BESIDE) for path in root.rglob("*.py")]
    users = [
        path.name
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tqdm")
    ]
    assert users == ["progress.py"]
