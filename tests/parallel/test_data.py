"""`data audit`, `prepare` and `baselines`: the same files whoever reads the images."""

import os
import signal

import numpy as np
import pytest

from benchmarks.clusters import cluster_of
from keras_fracture import cli
from keras_fracture.data import decoding, locations, phantom, scan
from keras_fracture.parallel import mapping
from tests.parallel import tasks


@pytest.fixture(scope="module")
def xrays(tmp_path_factory):
    """A folder of 92 X-rays: with copies, near copies and a file that cannot be read."""
    folder = tmp_path_factory.mktemp("xrays")
    for number, record in enumerate(phantom.records(sources=24, size=96)[:45]):
        image, label = record["image"][..., 0], ("healthy", "fracture")[int(record["label"])]
        (folder / label).mkdir(exist_ok=True)
        (folder / label / f"{number}.png").write_bytes(decoding.encode_png(image))
        near = np.where(np.arange(96) == 7, 255, image).astype(np.uint8)
        (folder / label / f"{number}_near.png").write_bytes(decoding.encode_png(near))
    (folder / "healthy" / "copy.png").write_bytes(min((folder / "healthy").iterdir()).read_bytes())
    (folder / "healthy" / "broken.png").write_bytes(b"none")
    return folder


@pytest.fixture
def run(xrays, tmp_path, monkeypatch):
    """Runs `data COMMAND` with a cache of its own; returns the exit code."""

    def run(command, *options, cache="cache"):
        monkeypatch.setenv("KERAS_FRACTURE_CACHE", str(tmp_path / cache))
        return cli.main(["data", command, str(xrays), "--finding", "fracture", *options])

    return run


@pytest.fixture(scope="module")
def alone(xrays, tmp_path_factory):
    """The audit of one process: the contents of its files."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_FRACTURE_CACHE", str(folder / "cache"))
        out = ["--out", str(folder / "audit")]
        assert cli.main(["data", "audit", str(xrays), "--finding", "fracture", *out]) == 0
    return contents(folder / "audit")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def at_30_percent(monkeypatch, do):
    """Calls a function once, when 30 % of the rows of the first map are done."""

    class Bar(mapping.Bar):
        before = 0

        def update(self, n=1):
            Bar.before += n
            if Bar.before >= 0.3 * self.total and do:
                do.pop()()
            return super().update(n)

    do = [do]
    monkeypatch.setattr(mapping, "Bar", Bar)


def test_processes_and_workers_give_the_audit_of_one_process(run, alone, tmp_path, request):
    pytest.importorskip("distributed")
    ways = {"jobs": ["--jobs", "2"], "cluster": ["--cluster", request.getfixturevalue("cluster")]}
    for name, way in ways.items():
        assert run("audit", "--out", str(tmp_path / name), *way, cache=f"cache of {name}") == 0
        assert contents(tmp_path / name) == alone
    assert b"near duplicates" in alone["audit.json"] and b"broken.png" in alone["audit.json"]


def test_a_worker_killed_at_30_percent_changes_nothing(run, alone, cluster, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    with distributed.Client(scheduler_file=cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        victim = next(iter(client.run(os.getpid).values()))
        at_30_percent(monkeypatch, lambda: os.kill(victim, signal.SIGKILL))
        assert run("audit", "--out", str(tmp_path / "audit"), "--cluster", cluster) == 0
        assert contents(tmp_path / "audit") == alone
        client.wait_for_workers(2, timeout=60)
        assert victim not in client.run(os.getpid).values()


def test_a_lost_scheduler_is_one_line_and_the_same_command_goes_on(run, alone, tmp_path, monkeypatch, capfd):
    pytest.importorskip("distributed")
    out = ["--out", str(tmp_path / "audit")]
    with cluster_of(1, tmp_path) as (scheduler, file):
        at_30_percent(monkeypatch, scheduler.kill)
        assert run("audit", *out, "--cluster", str(file), "--quiet") == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and "The scheduler is gone" in lines[0] and "goes on" in lines[0]
    (parts,) = (tmp_path / "cache" / "scans").glob("*.parts")
    before = len(parts.read_bytes().splitlines())
    assert before > 1
    measured, measure = [], scan.measure
    monkeypatch.setattr(scan, "measure", lambda *given: measured.append(given) or measure(*given))
    assert run("audit", *out) == 0
    assert contents(tmp_path / "audit") == alone
    assert len(measured) <= 92 - 16 * (before - 2) and not parts.exists()


def test_a_poison_image_is_named_skipped_and_counted(run, xrays, tmp_path, monkeypatch, caplog):
    poison = xrays / "healthy" / "poison.png"
    poison.write_bytes((xrays / "healthy" / "copy.png").read_bytes())
    monkeypatch.setattr(scan, "_measure_files", tasks.measure_or_die)
    monkeypatch.setattr(mapping, "DEATHS", 1)
    try:
        assert run("audit", "--out", str(tmp_path / "audit"), "--jobs", "2") == 0
    finally:
        poison.unlink()
    assert f"dies: {poison}" in caplog.text
    report = (tmp_path / "audit" / "audit.json").read_text()
    assert '"healthy/broken.png",\n    "healthy/poison.png"' in report
    assert not list(locations.cache_dir().glob("scans/*.csv")), "it is tried again the next time"


def test_prepare_and_baselines_are_those_of_one_process(run, tmp_path):
    for name, way in {"one": [], "two": ["--jobs", "2"]}.items():
        assert not way or run("prepare", *way, cache=name) == 0
        options = ["--policy", "grouped", "--seeds", "1", "--out", str(tmp_path / f"{name}.csv")]
        assert run("baselines", *options, *way, cache=name) == 0
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    records = [
        {path.name: path.read_bytes() for path in sorted((tmp_path / name).glob("records/**/*.tfrecord*"))}
        for name in ("one", "two")
    ]
    assert records[0] == records[1] and len(records[0]) >= 3
