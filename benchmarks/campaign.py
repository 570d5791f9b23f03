"""The long runs: every paper's own schedule, one after the other, in the order of their worth.

    python benchmarks/campaign.py list                     # what waits, runs, was cut, is done; hours on this machine
    python benchmarks/campaign.py run                      # the next ones, at low priority, until all are done
    python benchmarks/campaign.py run --only garcia_paper_split
    python benchmarks/campaign.py run --cluster tcp://10.0.0.1:8786   # several at once, where this folder is seen
    python benchmarks/campaign.py record                   # numbers of finished runs into results/

Each run is trained by a frozen copy of the commit it was started with, and goes on with that copy after a kill; the
checkout may change meanwhile. `run` may be stopped at any time, also by the machine. A run whose numbers stand in
results/ already, from here or another machine, is trained again only if `--only` asks for it. A run that `continues`
a shorter one, which must differ in its number of epochs alone, starts where that one ended if it was made here.
"""

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from keras_fracture import files, parallel
from keras_fracture.errors import FractureError
from keras_fracture.machine import BFLOAT16, cpu_fields

CHECKOUT = Path(__file__).resolve().parents[1]
FOLDER = CHECKOUT / "runs" / "campaign"
RESULTS = CHECKOUT / "results"
LIST = Path(__file__).with_name("campaign.csv")  # in the order of their worth
HEARTBEAT = 20  # seconds between two notes of how long a run has taken


class Run(NamedTuple):
    """One training of the campaign, a row of `campaign.csv`.

    Attributes:
        name: Of its folder.
        arguments: What follows `keras-fracture reproduce`.
        hours: Estimated for two cores with AVX512_BF16.
        continues: The name of a shorter run whose last epoch this one starts from, or "".
    """

    name: str
    arguments: str
    hours: float
    continues: str = ""


RUNS = tuple(
    Run(*row)
    for row in pd.read_csv(LIST, keep_default_na=False)[list(Run._fields)].itertuples(index=False, name=None)
)


class Campaign:
    """The runs and the folder that they are trained in.

    Args:
        folder: Holds a folder a run, and the frozen copies of the code.
        runs: `Run`s in the order of their worth.
        results: The folder of `KEY.json` files that hold the numbers of earlier runs.
    """

    def __init__(self, folder=FOLDER, runs=RUNS, results=RESULTS):
        self.folder, self.runs, self.results = Path(folder).resolve(), runs, Path(results)

    def out(self, run):
        """The run folder."""
        return self.folder / run.name

    def notes(self, run):
        """What is known of a run: `seconds`, and once it was started `commit`, `processor`, `exit_code`."""
        path = self.out(run).with_suffix(".json")
        return {"seconds": 0.0} | (json.loads(path.read_text(encoding="utf-8")) if path.exists() else {})

    def note(self, run, **facts):
        """Adds to a run's notes."""
        content = json.dumps(self.notes(run) | facts, indent=1) + "\n"
        files.write_text(self.out(run).with_suffix(".json"), content)

    def state(self, run):
        """One of waiting, running, cut, failed, done; or recorded, if its numbers were made in another folder."""
        if (self.out(run) / "metrics.json").exists():
            return "done"
        if "commit" not in self.notes(run):
            return "recorded" if _command(run) in self.recorded() else "waiting"
        if self.out(run).is_dir():
            with files.locked(self.out(run) / ".lock") as free:
                if not free:
                    return "running"
        return "failed" if self.notes(run).get("exit_code", 0) > 0 else "cut"

    def recorded(self):
        """The commands whose numbers stand in the folder of results, as a set."""
        from keras_fracture.report.results import read

        papers = {shlex.split(run.arguments)[0] for run in self.runs}
        paths = [path for paper in papers if (path := self.results / f"{paper}.json").exists()]
        return {row.get("command") for path in paths for row in read(path)["runs"]}

    def slowness(self):
        """How much longer runs take here than `Run.hours` says: of those done here, or by the processor's flags."""
        fields = cpu_fields()
        done = [run for run in self.runs if self.state(run) == "done"]
        here = [run for run in done if self.notes(run).get("processor") == fields.get("model name")]
        if here:
            return sum(self.notes(run)["seconds"] for run in here) / 3600 / sum(run.hours for run in here)
        flags = set(fields.get("flags", "").split())
        return 1.0 if flags & BFLOAT16 else 2.0 if "avx512f" in flags else 4.0

    def table(self):
        """All runs as a `pandas.DataFrame`: state, hours taken, hours estimated for this machine, command."""
        slowness = self.slowness()
        return pd.DataFrame(
            {
                "run": run.name,
                "state": self.state(run),
                "hours taken": round(self.notes(run)["seconds"] / 3600, 2),
                "hours estimated": round(run.hours * slowness, 1),
                "command": _command(run),
            }
            for run in self.runs
        )

    def code(self, commit):
        """A frozen copy of the checkout at a commit, made if it is missing."""
        copy = self.folder / "code" / commit
        if not copy.is_dir():
            with files.new_folder(copy) as beside:
                for command in (
                    ("git", "clone", "--quiet", "--no-checkout", str(CHECKOUT), str(beside)),
                    ("git", "-C", str(beside), "checkout", "--quiet", "--detach", commit),
                ):
                    subprocess.run(command, check=True)
        return copy

    def continued(self, run):
        """Copies the training that a run continues into its folder; returns that one's commit, None without one.

        What the trained model was evaluated to is not copied: it is another one after more epochs.
        """
        before = {one.name: one for one in self.runs}.get(run.continues)
        if before is None or self.out(run).is_dir() or self.state(before) != "done":
            return None
        known = self.notes(before)
        if "commit" not in known:  # of another machine
            return None
        with files.new_folder(self.out(run)) as beside:
            for part in sorted(self.out(before).rglob("backup")):
                target = beside / part.parent.relative_to(self.out(before))
                shutil.copytree(part, target / part.name)
                shutil.copy2(part.with_name("history.csv"), target)
                if (grids := part.with_name("samples")).is_dir():
                    shutil.copytree(grids, target / grids.name)
            # While a kill still lets both be made again.
            self.note(run, seconds=known["seconds"], commit=known["commit"])
        return known["commit"]

    def train(self, run, commit):
        """Starts a run or goes on with it, at low priority; returns its exit code, negative if a signal ended it."""
        commit = self.notes(run).get("commit") or self.continued(run) or commit
        notes = self.notes(run)
        code = self.code(commit)
        resume = ["--resume"] if (self.out(run) / "config.json").exists() else []
        command = ["nice", "-n", "19", sys.executable, "-m", "keras_fracture.cli", "reproduce"]
        command += [*shlex.split(run.arguments), "--out", str(self.out(run)), *resume]
        self.note(run, commit=commit, processor=cpu_fields().get("model name", ""), exit_code=0)
        with (self.folder / f"{run.name}.log").open("a", encoding="utf-8") as log:
            child = subprocess.Popen(
                command, cwd=code, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": str(code)}
            )
            began = time.monotonic()
            try:
                while child.poll() is None:
                    time.sleep(min(HEARTBEAT, 0.1 + (time.monotonic() - began) / 10))
                    self.note(run, seconds=notes["seconds"] + time.monotonic() - began)
            finally:
                child.terminate()
                child.wait()
        self.note(run, seconds=notes["seconds"] + time.monotonic() - began, exit_code=child.returncode)
        return child.returncode

    def work(self, commit, only=None, show=print, workers=None):
        """Trains what is not done, one by one or by `parallel.Workers`; what fails is named and passed over.

        Raises:
            FractureError: No run of that name, or another process works on this campaign.
        """
        known = [run.name for run in self.runs]
        if only is not None and only not in known:
            raise FractureError(f"No such run. Choose one of {', '.join(known)}. Received: {only!r}")
        with files.locked(files.folder(self.folder) / ".lock") as free:
            if not free:
                raise FractureError(f"{self.folder} is worked on by another process: wait for it, or stop it")
            ended = {None: ("done", "recorded")}.get(only, ("done",))
            runs = [run for run in self.runs if only in (None, run.name) and self.state(run) not in ended]
            for run, status in self._trained(runs, commit, show, workers):
                last = (self.folder / f"{run.name}.log").read_text(encoding="utf-8").strip().splitlines()[-1:]
                show(f"{time.strftime('%H:%M')} {run.name}: {self.state(run)}", *(last if status else ()))

    def _trained(self, runs, commit, show, workers):
        """Yields each run with its exit code."""
        if workers is None:
            for run in runs:
                show(f"{time.strftime('%H:%M')} {run.name}: {_command(run)}")
                yield run, self.train(run, commit)
            return
        for run in runs:  # before several need the copy at once
            self.code(self.notes(run).get("commit", commit))
        yield from zip(
            runs,
            workers.map(
                _train, runs, batch=1, shared=(self, commit), title="campaign", unit=" runs",
                name=lambda run: run.name,
            ),
            strict=True,
        )  # fmt: skip

    def record(self, results):
        """Adds the numbers of all runs that are done to a folder of results; returns their names."""
        from keras_fracture.report.results import record

        done = [run for run in self.runs if self.state(run) == "done"]
        for run in done:
            config, metrics = (
                json.loads((self.out(run) / name).read_text(encoding="utf-8"))
                for name in ("config.json", "metrics.json")
            )
            record(results, config, metrics, self.out(run))
        return [run.name for run in done]


def _command(run):
    """As it is recorded."""
    return f"keras-fracture reproduce {run.arguments}"


def _train(runs, shared):
    """A task of a cluster: exit codes."""
    campaign, commit = shared
    return [campaign.train(run, commit) for run in runs]


def _stopped(*_):
    raise SystemExit(143)


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("list", "run", "record"))
    parser.add_argument("--folder", default=FOLDER, help="of all runs (default: runs/campaign)")
    parser.add_argument("--commit", default="HEAD", help="whose code new runs are trained by (default: HEAD)")
    parser.add_argument("--only", metavar="RUN", help="this run alone")
    parser.add_argument(
        "--cluster",
        metavar="ADDRESS|FILE",
        help="train on the workers of a Dask cluster, which finish the runs that they have begun if this is stopped",
    )
    parser.add_argument(
        "--results", default=RESULTS, help="where `record` adds, and earlier numbers stand (default: results)"
    )
    options = parser.parse_args(arguments)
    campaign = Campaign(options.folder, results=options.results)
    signal.signal(signal.SIGTERM, _stopped)
    try:
        if options.verb == "list":
            table = campaign.table()
            table["command"] = table["command"].str.ljust(table["command"].str.len().max())
            print(table.to_string(index=False, justify="left"))
            ahead = table["hours estimated"][~table["state"].isin(("done", "recorded"))].sum()
            print(f"\n{ahead:.0f} hours are ahead on this machine, less what cut runs have behind them.")
        elif options.verb == "record":
            print("\n".join(campaign.record(options.results)) or "No run is done yet.")
        else:
            revision = ("git", "-C", str(CHECKOUT), "rev-parse", "--verify", f"{options.commit}^{{commit}}")
            asked = subprocess.run(revision, capture_output=True, text=True)
            if asked.returncode:
                raise FractureError(
                    f"--commit must name a commit of this checkout. Received: {options.commit!r}"
                )
            workers = (
                parallel.workers(cluster=options.cluster) if options.cluster else contextlib.nullcontext()
            )
            with workers as own:
                campaign.work(asked.stdout.strip(), options.only, workers=own)
    except FractureError as error:
        print(f"campaign: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
