"""The long runs: every paper's own schedule, one after the other, in the order of their worth.

    python benchmarks/campaign.py list                     # what waits, runs, was cut, is done; hours on this machine
    python benchmarks/campaign.py run                      # the next ones, at low priority, until all are done
    python benchmarks/campaign.py run --only garcia_paper_split
    python benchmarks/campaign.py run --cluster tcp://10.0.0.1:8786   # several at once, where this folder is seen
    python benchmarks/campaign.py record                   # numbers of finished runs into results/

Each run is trained by a frozen copy of the commit it was started with, and goes on with that copy after a kill; the
checkout may change meanwhile. `run` may be stopped at any time, also by the machine. A run whose numbers stand in
results/ already, from here or another machine, is trained again only if `--only` asks for it.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from keras_fracture import files, parallel
from keras_fracture.errors import FractureError
from keras_fracture.machine import BFLOAT16, cpu_fields

CHECKOUT = Path(__file__).resolve().parents[1]
FOLDER = CHECKOUT / "runs" / "campaign"
RESULTS = CHECKOUT / "results"
HEARTBEAT = 20  # seconds between two notes of how long a run has taken


@dataclasses.dataclass(frozen=True)
class Run:
    """One training of the campaign.

    Attributes:
        name: Of its folder.
        arguments: What follows `keras-fracture reproduce`.
        hours: Estimated for two cores with AVX512_BF16.
    """

    name: str
    arguments: str
    hours: float


_LISBON = "lisbon_resnet --set precision=auto"
_TUNED = f"{_LISBON} --variant tuned --set policies=grouped"
_IMAGENET = f"{_LISBON} --variant imagenet --set policies=grouped"
_SCHEDULE = f"{_LISBON} --profile paper"
_QUICK_GARCIA = "garcia_inception --set precision=auto"
_GARCIA = "garcia_inception --profile paper --set precision=auto"
_QUICK_BAI = "bai_dcgan --set precision=auto"
_BAI = "bai_dcgan --profile paper --set precision=auto"
_GUPTA = "gupta_unit --profile paper --set precision=auto --set width=32 --set patch_size=128 --seeds 5"
_IBRAHIM = "ibrahim_gan --profile paper --data kaggle_fracture --set precision=auto --set gans_per_class=1"
_MODERN = (
    "ibrahim_gan --profile paper --variant modern --set precision=auto --set policies=grouped --set gans_per_class=1 "
    "--set modern_steps=3000 --set classifier_steps=1000 --set sizes=100,500 --set few_labels=50,100,200"
)
_GENERATOR = "bai_dcgan --variant modern --set precision=auto --set policy=grouped --set channels=1"
RUNS = (
    # What synthetic images are worth, three sets of real X-rays and the drawn one.
    Run("modern_btxrd", f"{_MODERN} --data btxrd", 0.5),
    Run("modern_fracatlas", f"{_MODERN} --data fracatlas", 0.5),
    Run("modern_kaggle", f"{_MODERN} --data kaggle_fracture", 0.5),
    Run("modern_phantom", f"{_MODERN} --data phantom", 0.5),
    # Generators that may be passed on: of drawn images, and of FracAtlas (CC BY 4.0).
    Run("bai_phantom", f"{_GENERATOR} --data phantom --epochs 60 --set width=16", 0.1),
    Run("bai_fracatlas", f"{_GENERATOR} --data fracatlas --epochs 60 --set width=32", 0.3),
    # Rows from before augmentation and splits were mended, which no longer run below replaces.
    Run("bai_quick", f"{_QUICK_BAI} --epochs 60", 0.2),
    # The reading of the paper whose losses are its own: see `dcgan_tries.py`.
    Run("bai_quick_one_noise", f"{_QUICK_BAI} --epochs 60 --set fresh_noise=False", 0.3),
    Run(
        "poster_kaggle",
        "ibrahim_gan --variant poster --data kaggle_fracture --set policies=grouped,paper",
        0.4,
    ),
    Run("gupta_quick_phantom", "gupta_unit --data phantom --set precision=auto", 0.5),
    Run("garcia_quick", f"{_QUICK_GARCIA} --set policies=grouped,paper", 0.2),
    Run("gupta_quick", "gupta_unit --set precision=auto", 0.6),
    Run("gupta_quick_fracatlas", "gupta_unit --data fracatlas --set precision=auto", 0.6),
    Run("garcia_quick_96", f"{_QUICK_GARCIA} --set policies=paper --set image_size=96 --epochs 5", 0.1),
    Run("lisbon_quick_18", f"{_LISBON} --depth 18", 0.1),
    Run("lisbon_quick_tuned_34", f"{_TUNED} --depth 34 --epochs 40 --set width=16 --set image_size=64", 0.1),
    Run("lisbon_quick_deeper", f"{_LISBON} --depth 50 101 152 --epochs 1", 0.2),
    Run("lisbon_one_seed", f"{_SCHEDULE} --depth 18 34 --set policies=grouped", 0.5),
    # The papers' own schedules, and what goes beyond them.
    Run(
        "lisbon_tuned_34_ensemble",
        f"{_TUNED} --depth 34 --set width=32 --set image_size=128 --set flips=True --seeds 3 --set ensemble=True",
        1.2,
    ),
    Run(
        "lisbon_distilled_34",
        f"{_LISBON} --variant distilled --set policies=grouped --set width=32 --set flips=True",
        0.35,
    ),
    # Most X-rays of FracAtlas are 373 by 454 pixels; at first smaller ones, as these take twice as long.
    Run(
        "lisbon_imagenet_320_to_448",
        f"{_IMAGENET} --pretrained efficientnet_lite0_fracatlas --epochs 5 --set image_size=448 "
        "--set learning_rate=0.0003 --set flips=True",
        0.5,
    ),
    Run(
        "lisbon_imagenet_lite2_320",
        f"{_IMAGENET} --set models=efficientnet_lite2 --set image_size=320 --set flips=True",
        0.7,
    ),
    Run("lisbon_imagenet_320_longer", f"{_IMAGENET} --epochs 16 --set image_size=320 --set flips=True", 0.7),
    Run(
        "lisbon_distilled_34_320",
        f"{_LISBON} --variant distilled --set policies=grouped --set width=32 --set flips=True "
        "--set image_size=320 --set teacher=efficientnet_lite0_fracatlas",
        0.8,
    ),
    Run(
        "lisbon_distilled_34_320_ensemble",
        f"{_LISBON} --variant distilled --set policies=grouped --set width=32 --set flips=True --seeds 3 "
        "--set ensemble=True --set image_size=320 --set teacher=efficientnet_lite0_fracatlas",
        2.4,
    ),
    Run(
        "lisbon_distilled_34_ensemble",
        f"{_LISBON} --variant distilled --set policies=grouped --set width=32 --set flips=True --seeds 3 "
        "--set ensemble=True",
        1.0,
    ),
    Run("lisbon_imagenet_320", f"{_IMAGENET} --set image_size=320", 0.4),
    Run(
        "lisbon_imagenet_320_ensemble",
        f"{_IMAGENET} --set image_size=320 --seeds 3 --set flips=True --set ensemble=True",
        1.2,
    ),
    Run("garcia_published", f"{_GARCIA} --variant published_code --seeds 1 --set policies=paper", 0.2),
    Run("garcia_published_seeds", f"{_GARCIA} --variant published_code --seeds 8 --set policies=paper", 0.9),
    Run("lisbon_scratch", f"{_LISBON} --variant scratch --set policies=grouped", 0.2),
    Run("bai_quick_modern_seeds", f"{_QUICK_BAI} --epochs 18 --variant modern --seeds 3", 0.4),
    Run(
        "garcia_published_cosine",
        f"{_GARCIA} --variant published_code_cosine --seeds 3 --set policies=paper",
        0.35,
    ),
    Run("garcia_112", f"{_GARCIA} --seeds 1 --set image_size=112 --set policies=paper", 0.9),
    Run("lisbon_imagenet_seeds", f"{_IMAGENET} --epochs 16 --seeds 3", 1.0),
    Run(
        "lisbon_imagenet_ensemble",
        f"{_IMAGENET} --epochs 16 --seeds 3 --set flips=True --set ensemble=True",
        1.0,
    ),
    Run("lisbon_tuned_18", f"{_TUNED} --depth 18 --epochs 40 --set width=32 --set image_size=128", 0.4),
    Run("lisbon_tuned_34", f"{_TUNED} --depth 34 --set width=64 --set image_size=128", 1.8),
    Run("lisbon_grouped_18", f"{_SCHEDULE} --depth 18 --seeds 3 --set policies=grouped", 0.5),
    Run("lisbon_grouped_34", f"{_SCHEDULE} --depth 34 --seeds 3 --set policies=grouped", 1.0),
    Run("garcia_paper_split", f"{_GARCIA} --seeds 8 --set image_size=112 --set policies=paper", 6.6),
    Run("garcia_grouped", f"{_GARCIA} --seeds 8 --set image_size=112 --set policies=grouped", 6.6),
    Run("bai_paper_60", f"{_BAI} --epochs 60", 0.7),
    Run("bai_one_noise_60", f"{_BAI} --epochs 60 --set fresh_noise=False", 0.7),
    Run("bai_paper", f"{_BAI} --epochs 900", 5.7),
    Run("bai_one_noise", f"{_BAI} --epochs 900 --set fresh_noise=False", 5.7),
    Run("bai_modern", f"{_BAI} --epochs 900 --variant modern", 11.0),
    Run("gupta_btxrd", f"{_GUPTA} --data btxrd", 5.0),
    Run("gupta_fracatlas", f"{_GUPTA} --data fracatlas", 5.0),
    Run("lisbon_paper_split", f"{_SCHEDULE} --depth 18 34 --seeds 3 --set policies=paper", 1.5),
    Run("lisbon_deeper", f"{_SCHEDULE} --depth 50 101 152 --seeds 1 --set policies=grouped,paper", 5.0),
    Run("ibrahim_paper_split", f"{_IBRAHIM} --set policies=paper", 6.0),
    Run("ibrahim_grouped", f"{_IBRAHIM} --set policies=grouped", 6.0),
    Run("garcia_224", f"{_GARCIA} --seeds 1 --set image_size=224 --set policies=paper", 2.7),
    Run("bai_modern_seeds", f"{_BAI} --epochs 300 --variant modern --seeds 3", 11.0),
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

    def train(self, run, commit):
        """Starts a run or goes on with it, at low priority; returns its exit code, negative if a signal ended it."""
        notes = self.notes(run)
        commit = notes.get("commit", commit)
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
