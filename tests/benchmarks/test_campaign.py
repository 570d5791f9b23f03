"""The queue of long runs, on a paper that only writes files."""

import dataclasses
import json
import shlex
import subprocess
import sys

import pytest

from benchmarks import campaign
from benchmarks.campaign import Campaign, Run
from keras_fracture import cli, files, papers, parallel
from keras_fracture.errors import FractureError

RUNS = (Run("first", "one --set a=1", 1.0), Run("second", "broken", 2.0), Run("third", "one", 0.5))
# Ends by a signal when it is started for the first time, as a killed run does, and is done when it goes on.
COMMAND = """
import json, os, pathlib, signal, sys
arguments = sys.argv[1:]
out = pathlib.Path(arguments[arguments.index("--out") + 1])
out.mkdir(exist_ok=True)
with (out / "calls").open("a") as calls:
    calls.write(json.dumps([arguments, os.getcwd(), os.nice(0)]) + "\\n")
if "broken" in arguments:
    sys.exit("out of order")
(out / "config.json").write_text(json.dumps({"paper": "one", "command": "c", "date": "d", "versions": {}}))
if "--resume" not in arguments:
    os.kill(os.getpid(), signal.SIGKILL)
run = {"variant": "paper", "model": out.name, "data": "phantom", "auc": 0.5}
(out / "metrics.json").write_text(json.dumps({"runs": [run]}))
"""


@pytest.fixture
def queue(tmp_path, monkeypatch):
    def code(self, commit):
        package = self.folder / "code" / commit / "keras_fracture"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()
        (package / "cli.py").write_text(COMMAND)
        return package.parent

    monkeypatch.setattr(Campaign, "code", code)
    return Campaign(tmp_path, RUNS)


def calls(queue, name):
    return [json.loads(line) for line in (queue.folder / name / "calls").read_text().splitlines()]


def test_what_was_cut_goes_on_with_the_code_it_began_with(queue):
    assert list(queue.table()["state"]) == ["waiting"] * 3
    lines = []
    queue.work("aaa", show=lambda *words: lines.append(" ".join(words)))
    assert list(queue.table()["state"]) == ["cut", "failed", "cut"]
    assert lines[3].endswith("second: failed out of order")
    queue.work("bbb", show=lambda *words: None)
    assert list(queue.table()["state"]) == ["done", "failed", "done"]
    (began, in_aaa, priority), (went_on, still_in_aaa, _) = calls(queue, "first")
    out = str(queue.folder / "first")
    assert began == ["reproduce", "one", "--set", "a=1", "--out", out] and went_on == [*began, "--resume"]
    assert in_aaa == still_in_aaa == str(queue.folder / "code" / "aaa") and priority == 19
    queue.work("ccc", show=lambda *words: None)
    assert len(calls(queue, "first")) == 2  # what is done is not done again


def test_a_longer_run_starts_where_the_shorter_one_ended(queue):
    queue.runs = (RUNS[0], RUNS[0]._replace(name="longer", continues="first"))
    trained = queue.folder / "first" / "run-0"
    files.folder(trained / "backup")
    files.folder(trained / "samples")
    for name in ("backup/epoch-00060.weights.h5", "history.csv", "generator.keras", "samples/epoch-0060.png"):
        (trained / name).write_text(name)
    for commit, only in (("aaa", "first"), ("aaa", "first"), ("bbb", "longer"), ("bbb", "longer")):
        queue.work(commit, only, show=lambda *words: None)
    assert list(queue.table()["state"]) == ["done", "done"]
    folder = queue.folder / "longer"
    copied = {str(one.relative_to(folder)) for one in folder.rglob("*.*")}
    assert copied == {
        "run-0/backup/epoch-00060.weights.h5", "run-0/history.csv", "run-0/samples/epoch-0060.png", "config.json",
        "metrics.json",
    }  # fmt: skip
    (began, code, _), (went_on, *_) = calls(queue, "longer")
    assert "--resume" not in began and code.endswith("aaa") and "--resume" in went_on
    took, before = (queue.notes(run)["seconds"] for run in reversed(queue.runs))
    assert took > before


def test_one_run_can_be_chosen_and_others_are_refused(queue):
    queue.work("aaa", "third", show=lambda *words: None)
    assert list(queue.table()["state"]) == ["waiting", "waiting", "cut"]
    with pytest.raises(FractureError, match=r"^No such run\. Choose one of first, .* Received: 'fourth'$"):
        queue.work("aaa", "fourth")


@pytest.mark.slow
def test_workers_take_runs_from_the_queue(queue):
    lines = []
    with parallel.workers(2) as workers:
        queue.work("aaa", show=lambda *words: lines.append(" ".join(words)), workers=workers)
    assert list(queue.table()["state"]) == ["cut", "failed", "cut"]
    assert [line.split(" ", 1)[1] for line in lines] == [
        "first: cut",
        "second: failed out of order",
        "third: cut",
    ]


def test_two_queues_do_not_share_a_folder(queue):
    with files.locked(queue.folder / ".lock"), pytest.raises(FractureError, match="another process"):
        queue.work("aaa")


def test_a_run_that_is_trained_is_said_to_run(queue):
    queue.work("aaa", "first", show=lambda *words: None)
    with files.locked(queue.folder / "first" / ".lock"):
        assert queue.state(RUNS[0]) == "running"
    assert queue.state(RUNS[0]) == "cut"


@pytest.mark.parametrize(
    ("flags", "hours"), [("avx2", 4.0), ("avx2 avx512f", 2.0), ("avx512f amx_bf16", 1.0)]
)
def test_hours_are_estimated_by_the_processor_until_a_run_is_done_there(queue, monkeypatch, flags, hours):
    monkeypatch.setattr(campaign, "cpu_fields", lambda: {"flags": flags, "model name": "mine"})
    assert list(queue.table()["hours estimated"]) == [hours, 2 * hours, 0.5 * hours]
    for commit in ("aaa", "bbb"):
        queue.work(commit, show=lambda *words: None)
    queue.note(RUNS[0], seconds=3600 * 2.5)
    queue.note(RUNS[2], seconds=3600 * 0.5)
    assert list(queue.table()["hours estimated"]) == [2.0, 4.0, 1.0]
    queue.note(RUNS[0], processor="another")
    assert list(queue.table()["hours estimated"]) == [1.0, 2.0, 0.5]


def test_numbers_of_finished_runs_are_recorded(queue, tmp_path):
    queue.work("aaa", show=lambda *words: None)
    assert queue.record(tmp_path / "results") == []
    queue.work("aaa", show=lambda *words: None)
    assert queue.record(tmp_path / "results") == ["first", "third"]
    runs = json.loads((tmp_path / "results" / "one.json").read_text())["runs"]
    assert [run["model"] for run in runs] == ["first", "third"]


def test_what_another_machine_has_recorded_is_trained_only_if_it_is_asked_for(tmp_path, queue):
    queue.results = tmp_path / "results"
    rows = [{"command": "keras-fracture reproduce one --set a=1"}, {"model": "of a version without commands"}]
    queue.results.mkdir()
    (queue.results / "one.json").write_text(json.dumps({"paper": "one", "runs": rows}))
    assert list(queue.table()["state"]) == ["recorded", "waiting", "waiting"]
    for _ in range(2):
        queue.work("aaa", show=lambda *words: None)
    assert list(queue.table()["state"]) == ["recorded", "failed", "done"]
    queue.work("aaa", "first", show=lambda *words: None)
    assert list(queue.table()["state"]) == ["cut", "failed", "done"]


def test_a_frozen_copy_holds_the_commit_and_not_the_checkout(tmp_path, monkeypatch):
    def git(*words):
        identity = ("-c", "user.name=n", "-c", "user.email=e")
        done = subprocess.run(
            ("git", *identity, "-C", str(tmp_path / "here"), *words), capture_output=True, check=True
        )
        return done.stdout.decode().strip()

    (tmp_path / "here").mkdir()
    git("init")
    for text in ("old", "new"):
        (tmp_path / "here" / "file").write_text(text)
        git("add", "file")
        git("commit", "-m", text)
    monkeypatch.setattr(campaign, "CHECKOUT", tmp_path / "here")
    copy = Campaign(tmp_path / "campaign", ()).code(git("rev-parse", "HEAD^"))
    assert (copy / "file").read_text() == "old"


@pytest.mark.parametrize("run", campaign.RUNS, ids=lambda run: run.name)
def test_papers_take_the_settings_of_every_run(run, monkeypatch):
    configured = []
    monkeypatch.setattr(papers, "_execute", lambda *given: configured.append(given[0]))
    assert not cli.main(["reproduce", *shlex.split(run.arguments)])
    assert configured[0].key == shlex.split(run.arguments)[0] and configured[0].precision == "auto"


LONGER = [run for run in campaign.RUNS if run.continues]


@pytest.mark.parametrize("run", LONGER, ids=lambda run: run.name)
def test_a_run_that_continues_another_has_more_epochs_and_nothing_else(run, monkeypatch):
    configured = []
    monkeypatch.setattr(papers, "_execute", lambda *given: configured.append(given[0]))
    before = {one.name: one for one in campaign.RUNS}[run.continues]
    for one in (before, run):
        assert not cli.main(["reproduce", *shlex.split(one.arguments)])
    shorter, longer = configured
    assert shorter.epochs < longer.epochs and dataclasses.replace(shorter, epochs=longer.epochs) == longer


def test_the_command_line_lists_and_refuses_in_one_line(tmp_path, capsys):
    assert campaign.main(["list", "--folder", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert all(run.name in out for run in campaign.RUNS)
    assert campaign.main(["run", "--folder", str(tmp_path), "--commit", "none"]) == 2
    assert "Received: 'none'" in capsys.readouterr().err
    assert subprocess.run([sys.executable, campaign.__file__, "--help"], capture_output=True).returncode == 0
