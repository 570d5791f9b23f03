"""Run folders: one writer at a time, resumed after a kill, with the settings and images they were made from."""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import itertools
import json
import logging
import platform
import shlex
import sys
from pathlib import Path

import numpy as np

from keras_fracture import files, parallel, serving
from keras_fracture.errors import DistributionError, FractureError, OutputError, one_line
from keras_fracture.experiment import config as configs
from keras_fracture.experiment import splits
from keras_fracture.parallel.versions import versions as versions_here
from keras_fracture.training import distribution, precision

_LOG = logging.getLogger(__name__)
_PACKAGES = ("tensorflow", "keras", "tensorflow-datasets", "numpy", "opencv-python-headless", "scipy")


@dataclasses.dataclass(frozen=True)
class Run:
    """Where an experiment is carried out.

    Attributes:
        folder: The run folder, a `Path`; on workers other than the first a copy that is thrown away.
        data_dir: Where real data lie, or None.
        strategy: A `training.distribution.Distribution`, under whose scope models are made.
        computed_in: The precision, one of `training.precision.CHOICES` but "auto".
        workers: `parallel.Workers` that carry trainings out, see `ahead`; None for this process.
        images: What tells the images that it was started with from others, in a worker that may keep them from run to
            run; "" elsewhere.
    """

    folder: Path
    data_dir: str | None = None
    strategy: distribution.Distribution = distribution.ONE_DEVICE
    computed_in: str = "float32"
    workers: parallel.Workers | None = None
    images: str = ""


def execute(
    config, profile, experiment, report, *, out=None, resume=False, data_dir=None, results=None, strategy=None,
    workers=None,
):  # fmt: skip
    """Carries an experiment out in a run folder: trains, evaluates, writes the report, records the numbers.

    Args:
        config: An `experiment.config.Config`.
        profile: Name of the profile that it came from.
        experiment: Function of the configuration and a `Run` that returns what came out.
        report: Function of the configuration, what came out and the `Run` that writes `metrics.json` and returns it.
        out: Run folder; default `runs/KEY/TIME`.
        resume: Go on with a run that was cut off.
        data_dir: Where real data lie.
        results: Folder whose `KEY.json` also gets the numbers, or None.
        strategy: What trainings are spread over, see `training.distribution.using`.
        workers: `parallel.Workers` that train side by side, see `ahead`; None for this process.

    Returns:
        The run folder; None on workers other than the first, which write nothing that stays.

    Raises:
        DistributionError: There are both a strategy and workers.
    """
    from keras_fracture.report.html import write_html
    from keras_fracture.report.results import record

    if workers is not None and strategy not in (None, "none"):
        raise DistributionError(
            "A strategy spreads each training, jobs and clusters train several at once: choose one of them. "
            f"Received: strategy {strategy} with workers"
        )
    with distribution.using(strategy) as own, precision.using(config.precision) as computed_in:
        folder = run_folder(config.key, out, resume) if own.chief or resume else out
        new = own.chief and not resume
        with run_lock(folder) if own.chief else contextlib.nullcontext(), _given_back(folder, new):
            with own.worker_dir(folder) as worker_dir:
                recorded = start(config, profile, worker_dir, resume, computed_in, own)
                record_fingerprints(config, recorded, worker_dir, data_dir)
                # "auto" may be another precision here than on the machine that the run was started on.
                with precision.using(recorded["computed_in"]):
                    run = Run(worker_dir, data_dir, own, recorded["computed_in"], workers)
                    metrics = report(config, experiment(config, run), run)
            if own.chief:
                write_html(folder)
            if own.chief and results:
                record(results, recorded, metrics, folder)
    return folder if own.chief else None


def run_folder(key, out=None, resume=False):
    """The folder of a run: a new one named by the time, a given one, or the one to go on with.

    Args:
        key: The experiment's.
        out: The folder itself, or None for `runs/KEY/TIME`.
        resume: Go on with `out`, or with the newest unfinished run of this key.

    Raises:
        OutputError: There is nothing to resume, or `out` holds a run already.
    """
    if out:
        out = Path(out)
        if not resume and (out / "config.json").exists():
            raise OutputError(
                f"{out} holds a run already: use --resume to go on with it, or name another folder"
            )
    elif resume:
        runs = sorted(Path("runs", key).glob("*/config.json"))
        unfinished = [path.parent for path in runs if not (path.parent / "metrics.json").exists()]
        if not unfinished:
            raise OutputError(f"There is no unfinished run of {key} in {Path('runs', key)} to resume")
        out = unfinished[-1]
    else:
        out = Path("runs", key, datetime.datetime.now().strftime("%Y%m%d-%H%M%S"))
    return files.folder(out)


@contextlib.contextmanager
def run_lock(folder):
    """Keeps other processes from writing to a run folder while the body runs, and removes what a killed one left.

    Raises:
        OutputError: Another process is writing there.
    """
    with files.locked(Path(folder) / ".lock") as mine:
        if not mine:
            raise OutputError(f"{folder} is written by another process: wait for it, or name another folder")
        files.sweep(folder)
        yield


@contextlib.contextmanager
def _given_back(folder, new):
    """Where a `new` run is refused before it left more than `config.json`, that goes too: it may be started anew."""
    try:
        yield
    except FractureError:
        if new and not any(map(_is_left, folder.rglob("*"))):
            (folder / "config.json").unlink(missing_ok=True)
        raise


def _is_left(path):
    """Whether a path in a run folder is a file that a training or what comes after it left."""
    return path.is_file() and path.name != "config.json" and not path.name.startswith(".")


def start(config, profile, folder, resume, computed_in="float32", strategy=distribution.ONE_DEVICE):
    """Writes `config.json`, or on `resume` checks that it says what is asked for now; returns it as a dict.

    Its `computed_in` is the precision that the run was started in, which "auto" alone does not say.

    Raises:
        OutputError: The run to go on with was started with other settings.
    """
    settings = json.loads(json.dumps(dataclasses.asdict(config)))
    content = {"paper": config.key, "profile": profile, "settings": settings, "computed_in": computed_in}
    content["other_settings"] = json.loads(json.dumps(configs.other_settings(config, profile)))
    content |= provenance(strategy)
    if not content["command"].startswith("keras-fracture "):  # Python's own arguments say nothing of the run
        content["command"] = "keras-fracture reproduce --from config.json"
    path = Path(folder) / "config.json"
    if resume and path.exists():
        before = read_config(path)
        earlier = configs.renamed(type(config), before["settings"])
        if earlier != settings:
            names = [name for name in settings if earlier.get(name) != settings[name]]
            raise OutputError(
                f"{folder} was started with other settings of {', '.join(names)}: name another folder"
            )
        if further := _resumed_under(content["versions"], before, folder):
            before |= further
            files.write_text(path, json.dumps(before, indent=1) + "\n")
        # What runs of earlier versions do not say.
        return {name: content[name] for name in ("computed_in", "other_settings")} | before
    files.write_text(path, json.dumps(content, indent=1) + "\n")
    return content


def _resumed_under(versions, before, folder):
    """What `config.json` gets where a run goes on under other versions than it was started with; warns of it."""
    started = before.get("versions")
    if not isinstance(started, dict):
        return {}
    started = {"keras_fracture": "unknown"} | started  # earlier versions did not record themselves
    now = {name: versions.get(name) for name in started}
    odd = [f"{name} {started[name]}, now {now[name]}" for name in started if now[name] != started[name]]
    if not odd:
        return {}
    _LOG.warning(
        "%s was started under other versions, which may give other numbers: repeat the run for numbers of one version. "
        "Received: %s", folder, "; ".join(odd),
    )  # fmt: skip
    further = before.get("resumed_under", [])
    return {"resumed_under": further if versions in further else [*further, versions]}


def record_fingerprints(config, recorded, folder, data_dir=None):
    """Adds `splits.fingerprints`, or checks that a run that is resumed was started with the same; and split digests.

    Raises:
        DataError: The images are others by now.
    """
    fingerprints = splits.fingerprints(config, data_dir)
    if "fingerprints" in recorded:
        splits.check_fingerprints(recorded["fingerprints"], fingerprints, f"{folder} was started with")
    else:
        recorded["fingerprints"] = fingerprints
        recorded["split_digests"] = splits.digests_of_splits(config, data_dir)
        files.write_text(Path(folder) / "config.json", json.dumps(recorded, indent=1) + "\n")


def read_config(path):
    """A `config.json`, named by itself or by its folder, as a dict whose parts have the right types.

    `fingerprints` are missing from that of a run which was cut off before it knew them.

    Raises:
        FractureError: It is not such a file.
    """
    path = Path(path)
    path = path / "config.json" if path.is_dir() else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content |= {"paper": str(content["paper"]), "profile": str(content["profile"])}
        content["settings"] = dict(content["settings"])
        if content["profile"] not in configs.PROFILES:
            raise ValueError(f"profile {content['profile']!r:.80}")
        if "fingerprints" in content:
            content["fingerprints"] = {key: dict(value) for key, value in content["fingerprints"].items()}
    except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
        raise FractureError(
            f"{path} records no run: name the config.json of a run folder. Received: {one_line(error)}"
        ) from None
    return content


def provenance(strategy=distribution.ONE_DEVICE):
    """Command, date, versions, machine and strategy of this run."""
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    versions["keras_fracture"] = versions_here()["keras_fracture"]
    # Where a run lies, who trains, and whether it was cut off, changes no number.
    paths = ("--out", "--data-dir", "--jobs", "--cluster")
    arguments = [
        argument
        for before, argument in itertools.pairwise(sys.argv)
        if before not in paths and argument.partition("=")[0] not in (*paths, "--resume")
    ]
    return {
        # Also where Python was given the package instead: `python -m keras_fracture.cli`.
        "command": shlex.join([Path(sys.argv[0]).name.replace("__main__.py", "keras-fracture"), *arguments]),
        "date": datetime.date.today().isoformat(),
        "versions": {"python": platform.python_version(), **versions},
        "machine": f"{platform.machine()}, {platform.system()}",
        **strategy.facts(),
    }


def load_or_compute(path, compute):
    """Arrays that are computed once: read from `path` if it is there, else written, whole or not at all.

    Args:
        path: An .npz file.
        compute: Function that returns a dict of arrays.
    """
    path = Path(path)
    if not path.exists():
        arrays = compute()
        with files.writing(path) as beside, open(beside, "wb") as stream:
            np.savez(stream, **arrays)
    with np.load(path) as stored:
        return dict(stored)


def save_if_missing(model, path):
    """Saves a model as a `.keras` file, unless a run that was cut off has done that."""
    if not Path(path).exists():
        with files.writing(path) as beside:
            model.save(beside)


def export_if_missing(model, path, **options):
    """`serving.export`, unless a run that was cut off has done that."""
    if not (Path(path) / "1").exists():
        serving.export(model, path, **options)


def write_metrics(folder, config, runs, **further):
    """Writes `metrics.json`: last, because a run folder that holds it is a finished run; returns its content.

    Args:
        folder: The run folder.
        config: The experiment's configuration.
        runs: A list of dicts, a row of results each.
        **further: What else it holds.
    """
    metrics = {"runs": runs, "settings": dataclasses.asdict(config), **further}
    files.write_text(Path(folder) / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    return metrics
