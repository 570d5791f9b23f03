"""`results/KEY.json`: the numbers worth quoting, written by one function."""

import hashlib
import json
import re
import shutil
from pathlib import Path

from keras_fracture import files
from keras_fracture.errors import OutputError

# What earlier versions called keys of `metrics.json` and `results/KEY.json`, and figures.
RENAMED = {
    "pictures": "images",
    "pictures_of_training_sources": "images_of_training_sources",
    "floor": "real_vs_real",
    "floor_std": "real_vs_real_std",
}
RENAMED_FIGURES = {"judged.png": "metrics-over-epochs.png"}
_SAME = (
    "variant", "model", "data", "split_policy", "profile", "part", "image_size", "epochs", "unit_steps", "study",
    "real_images",
)  # fmt: skip
_READING = ("finding", "columns", "patient", "splits")  # of own X-rays, and of a file of splits
_UNUSUAL = {"image_size": "{} pixels", "epochs": "epochs {}"}
# Of a command, what rows tell by themselves, or what changes no number.
_TOLD = (*_SAME, "depth", "models", "policies", "policy", "precision", "seed", "seeds", "results",
         "from")  # fmt: skip


def record(folder, config, metrics, out):
    """Adds a run's numbers to `folder/KEY.json`, replacing those of an equal earlier run, and keeps its figures.

    Runs are equal if they differ in nothing but seeds and precision; a file of splits counts by what it holds. Earlier
    versions did not record the `other_settings` of a run, whose command tells them there.

    Args:
        folder: Where the files are kept.
        config: What `experiment.runs.start` returned.
        metrics: What the experiment's report returned; its `runs` are kept, and of its `figures`, which show no real
            image, a copy in `folder/KEY/DATA/VARIANT`, without the last if the run compares several, and in
            `settings-DIGEST` there if it has `other_settings`; in `run-DIGEST` below if another run has that folder.
            Beside them a copy of `history.csv`: what the curves show, as numbers.
        out: The run folder, where the figures and the history are.

    Returns:
        The file's path.
    """
    # Not above: `catalogue` looks into the data folders, which reading results needs none of.
    from keras_fracture.data import catalogue

    path = Path(folder) / f"{config['paper']}.json"
    known = read(path)["runs"] if path.exists() else []
    common = ("command", "date", "versions", "computed_in", "other_settings")
    common = {name: config[name] for name in common if name in config}
    settings = config.get("settings", {})
    reading = {name: settings[name] for name in _READING if settings.get(name) is not None}
    if settings.get("data", catalogue.EMBEDDED) not in catalogue.NAMES:
        reading["folder"] = _digest(
            str(catalogue.path(settings["data"]))
        )  # of which rows name the last part alone
    if reading:
        common["reading"] = reading
    digests = config.get("split_digests", {})  # none in runs of earlier versions
    fresh = [
        renamed(run)
        | common
        | ({"split_digest": digests[run["split_policy"]]} if run.get("split_policy") in digests else {})
        for run in metrics["runs"]
    ]
    kept = [run for run in known if not any(_same(run, one) for one in fresh)]
    if metrics.get("figures"):
        figures = _figures_folder(config["paper"], fresh, known, kept)
        history = ["history.csv"] if Path(out, "history.csv").exists() else []
        for name in [*metrics["figures"], *history]:
            with files.writing(Path(folder, figures, RENAMED_FIGURES.get(name, name))) as beside:
                shutil.copyfile(Path(out) / name, beside)
        fresh = [run | {"figures": figures} for run in fresh]
    return files.write_text(
        path, json.dumps({"paper": config["paper"], "runs": kept + fresh}, indent=1) + "\n"
    )


def _figures_folder(paper, fresh, known, kept):
    """Where figures of runs are kept, a path below the results: by data, variant and settings, for others' sake more.

    Rows that stay keep theirs: of runs that differ in their images' size, epochs or the like alone, the later ones get
    a folder of their own. Of earlier versions' rows, which do not say, the last one has it.
    """
    variants = {run["variant"] for run in fresh}
    plain = _plain_folder(paper, fresh[0], variants.pop() if len(variants) == 1 else None)
    owners = {}
    for run in known:
        either = [_plain_folder(paper, run, variant) for variant in (run["variant"], None)]
        owners |= dict.fromkeys([run["figures"]] if "figures" in run else either, run)
    if not any(run is owners.get(plain) for run in kept):
        return plain
    told = {name: fresh[0].get(name) for name in ("profile", "image_size", "epochs", "unit_steps", "reading")}
    return f"{plain}/run-{_digest(json.dumps(told, sort_keys=True))}"


def _plain_folder(paper, run, variant):
    parts = [paper, Path(run["data"]).name, *([variant] if variant else [])]
    if settings := run.get("other_settings"):
        parts.append(f"settings-{_digest(json.dumps(settings, sort_keys=True))}")
    return "/".join(parts)


def _digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _same(run, other):
    """Whether one run would take the place of the other."""
    both = [one["other_settings"] for one in (run, other) if "other_settings" in one]
    if len(both) < 2:
        both = [
            _set_by(one.get("command", "")) or _texts(one.get("other_settings", {})) for one in (run, other)
        ]
    alike = both[0] == both[1]
    reading = [dict(one.get("reading") or _read_by(one.get("command", ""))) for one in (run, other)]
    folders = {one.pop("folder") for one in reading if "folder" in one}  # earlier versions did not record it
    if len(folders) > 1:
        return False
    same = (*_SAME, "split_digest") if "splits" in reading[0] else _SAME
    return alike and reading[0] == reading[1] and all(run.get(name) == other.get(name) for name in same)


def _set_by(command):
    """The settings that a recorded command names, but for those that rows tell by themselves."""
    words = re.findall(r"--(?:set[ =])?(\w+)[ =](?!--)(\S+)", command)
    return {name: value for name, value in words if name not in _TOLD}


def _read_by(command):
    """How a recorded command reads own X-rays, which earlier versions did not record."""
    return {name: value.strip("'\"") for name, value in _set_by(command).items() if name in _READING}


def _texts(settings):
    return {name: f"{value}" for name, value in settings.items()}


def others(run, config_class=None):
    """A recorded run's settings that are neither its profile's nor its variant's, as a list of texts.

    Args:
        run: The row; of an earlier version's, which lacks `other_settings`, those that its command names.
        config_class: The experiment's `experiment.config.Config`, by which it is known which of the latter are usual.
    """
    settings = run.get("other_settings")
    if settings is None:
        settings = _set_by(run.get("command", ""))
        if config_class is not None:
            usual = _usual(run, config_class)
            names = [name for name in settings if name not in config_class.TOLD]
            settings = {name: settings[name] for name in names if settings[name] != f"{usual.get(name)}"}
    return [f"{name} {_said(value)}" for name, value in settings.items()]


def _usual(run, config_class):
    """What a run's profile and variant set."""
    return config_class.PROFILES.get(run["profile"], {}) | config_class.VARIANTS.get(run["variant"], {})


def profile(run, config_class=None, *names):
    """A recorded run's profile with what is other than there, as text.

    Args:
        run: The row.
        config_class: The experiment's `experiment.config.Config`; needed for `names`.
        *names: Of "image_size" and "epochs", those that no other cell of a table shows.
    """
    return ", ".join([run["profile"], *unusual(run, config_class, *names), *others(run, config_class)])


def unusual(run, config_class, *names):
    """Pixels and epochs of a recorded run that are not its profile's, as a list of texts; arguments of `profile`."""
    if not names:
        return []
    usual = _usual(run, config_class)
    found = {name: run.get(name) for name in names}
    return [
        _UNUSUAL[name].format(value)
        for name, value in found.items()
        if value not in (None, usual.get(name, getattr(config_class, name)))
    ]


def _said(value):
    return " and ".join(map(str, value)) if isinstance(value, list) else f"{value}"


def renamed(content):
    """Nested dicts and lists with the keys that they have now."""
    if isinstance(content, dict):
        return {RENAMED.get(name, name): renamed(value) for name, value in content.items()}
    return [renamed(value) for value in content] if isinstance(content, list) else content


def networks(run):
    """Of how many networks a row is: an ensemble of all its seeds is one."""
    return 1 if run.get("other_settings", {}).get("ensemble") else run["seeds"]


def read(path):
    """A results file as a dict.

    Raises:
        OutputError: It is missing or not of this form.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        runs = [renamed(run) for run in content["runs"]]
        for run in runs:  # of earlier versions, whose baselines were fitted as often as there are networks
            if "baselines" in run:
                run["baselines"].setdefault("fits", networks(run))
        return {"paper": content["paper"], "runs": runs}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{path} is not a results file: {error}") from None


def read_run(folder):
    """`metrics.json` of a finished run as a dict.

    Raises:
        OutputError: The folder holds no finished run.
    """
    try:
        return renamed(json.loads((Path(folder) / "metrics.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise OutputError(f"{folder} holds no finished run: {error}") from None
