"""What all recipes share: a run folder that can be resumed, provenance, sets loaded as arrays."""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import itertools
import json
import platform
import shlex
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from keras_fracture import data, files, serving
from keras_fracture.data import decoding, splits
from keras_fracture.data.sources import digests
from keras_fracture.errors import DataError, FractureError, OutputError, one_line
from keras_fracture.papers.limits import check
from keras_fracture.settings import parse
from keras_fracture.training import distribution

PROFILES = ("smoke", "quick", "paper")
_PACKAGES = ("tensorflow", "keras", "tensorflow-datasets", "numpy", "opencv-python-headless", "scipy")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One paper as numbers. Subclasses add what differs, and `run`.

    Attributes:
        data: The data set used unless another is named.
        seed: First seed; run k uses `seed + k`.
        seeds: How many times classifiers are trained.
        precision: Of everything that is trained, see `training.precision.configure`; "auto" is the fastest here.
    """

    key = ""
    title = ""
    data: str = "phantom"
    seed: int = 0
    seeds: int = 3
    precision: str = "float32"

    def __post_init__(self):
        check(self)

    def run(self, out, data_dir=None):
        """Carries the recipe out into a run folder and returns `metrics.json` as a dict."""
        raise FractureError(f"{type(self).__name__} does not say how to run")

    @property
    def split_policies(self):
        """The split policies whose images `run` reads."""
        return ("grouped",)

    def records(self, policy, data_dir=None):
        """The three splits of one policy: a dict of split name to `data.Records`."""
        return {name: data.load(self.data, name, policy, data_dir=data_dir) for name in splits.NAMES}

    def labelled(self, preprocess, policy, data_dir=None):
        """The three splits of one policy as arrays.

        Returns:
            A dict of split name to `Split`.
        """
        return {
            name: Split(*records.arrays(preprocess), records.table)
            for name, records in self.records(policy, data_dir).items()
        }

    def fingerprints(self, data_dir=None):
        """What `run` trains and tests on: a dict of split policy to a dict of split name to a hash of its records."""
        return {
            policy: {name: records.digest for name, records in self.records(policy, data_dir).items()}
            for policy in self.split_policies
        }


@dataclasses.dataclass(frozen=True)
class Split:
    """Preprocessed images uint8 `(n, size, size, channels)`, labels `(n,)`, and all other fields as a table."""

    images: np.ndarray
    labels: np.ndarray
    table: pd.DataFrame

    @property
    def sources(self):
        """The source of each image, str `(n,)`."""
        return self.table["source"].to_numpy().astype(str)

    @property
    def boxes(self):
        """Boxes of each image, as fractions of the square it was fitted into: a list of float32 `(k, 4)`."""
        rows = zip(*(self.table[name] for name in ("boxes", "height", "width")), strict=True)
        return [decoding.fit_boxes(*row) for row in rows]

    def take(self, rows):
        """The images of these rows: int `(m,)`, or bool `(n,)`."""
        return Split(self.images[rows], self.labels[rows], self.table.iloc[rows].reset_index(drop=True))

    def of(self, label):
        """The images of one class."""
        return self.images[self.labels == label]


def joined(first, second):
    """Two splits as one."""
    return Split(
        np.concatenate([first.images, second.images]),
        np.concatenate([first.labels, second.labels]),
        pd.concat([first.table, second.table], ignore_index=True),
    )


def configure(recipe_class, profile, **overrides):
    """A recipe with a profile's numbers.

    Args:
        recipe_class: A subclass of `Recipe` with `PROFILES`, a dict of profile to numbers.
        profile: One of `PROFILES`.
        **overrides: Numbers that win over the profile's; None is left out.

    Raises:
        FractureError: No such profile, setting or variant, or a value is out of its range, see `limits.check`.
    """
    if profile not in PROFILES:
        raise FractureError(f"No such profile. Choose one of {', '.join(PROFILES)}. Received: {profile!r}")
    variants = getattr(recipe_class, "VARIANTS", {})
    known = {field.name for field in dataclasses.fields(recipe_class)}
    chosen = {name: value for name, value in overrides.items() if value is not None}
    unknown = sorted(set(chosen) - known)
    if unknown:
        raise FractureError(f"{recipe_class.key} has no setting {', '.join(unknown)}. Received: {chosen}")
    variant = chosen.get("variant")
    if variant is not None and variant not in variants:
        raise FractureError(f"No such variant. Choose one of {', '.join(variants)}. Received: {variant!r}")
    return recipe_class(**recipe_class.PROFILES[profile] | variants.get(variant, {}) | chosen)


def settings_of(recipe_class, overrides):
    """Settings from `NAME=VALUE` overrides, as a command line gives them.

    Args:
        recipe_class: A subclass of `Recipe`.
        overrides: Such as "image_size=112" or "policies=paper,grouped"; values of tuples are parted by commas.

    Returns:
        A dict of name to value, of the type that the recipe's own value has.

    Raises:
        FractureError: No such setting, or a value of another type.
    """
    known = {field.name: (field.type, field.default) for field in dataclasses.fields(recipe_class)}
    return parse(recipe_class.key, known, overrides)


def run_folder(key, out=None, resume=False):
    """The folder of a run: a new one named by the time, a given one, or the one to go on with.

    Args:
        key: The paper's key.
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
def run_lock(out):
    """Keeps other processes from writing to a run folder while the body runs, and removes what a killed one left.

    Raises:
        OutputError: Another process is writing there.
    """
    with files.locked(Path(out) / ".lock") as mine:
        if not mine:
            raise OutputError(f"{out} is written by another process: wait for it, or name another folder")
        files.sweep(out)
        yield


def begin(recipe, profile, out, resume, computed_in="float32"):
    """Writes `config.json`, or on `resume` checks that it says what is asked for now; returns it as a dict.

    Its `computed_in` is the precision that the run was started in, which "auto" alone does not say.

    Raises:
        OutputError: The run to go on with was started with other settings.
    """
    settings = json.loads(json.dumps(dataclasses.asdict(recipe)))
    config = {"paper": recipe.key, "profile": profile, "settings": settings, "computed_in": computed_in}
    config |= provenance()
    path = Path(out) / "config.json"
    if resume and path.exists():
        before = _read(path)
        if before["settings"] != settings:
            names = [name for name in settings if before["settings"].get(name) != settings[name]]
            raise OutputError(
                f"{out} was started with other settings of {', '.join(names)}: name another folder"
            )
        return {"computed_in": computed_in} | before
    files.write_text(path, json.dumps(config, indent=1) + "\n")
    return config


def record_images(recipe, config, out, data_dir=None):
    """Adds `fingerprints` to `config.json`, or checks that they are what a run that is resumed was started with.

    Raises:
        DataError: The images are others by now.
    """
    found = recipe.fingerprints(data_dir)
    if "fingerprints" in config:
        same_images(config["fingerprints"], found, f"{out} was started with")
    else:
        config["fingerprints"] = found
        files.write_text(Path(out) / "config.json", json.dumps(config, indent=1) + "\n")


def same_images(expected, found, whose):
    """Raises `DataError` if two `fingerprints` differ; `whose` begins the sentence."""
    pairs = [(f"{policy}/{name}", expected.get(policy, {}).get(name), digest)
             for policy, digests in found.items() for name, digest in digests.items()]  # fmt: skip
    odd = [pair for pair in pairs if pair[1] != pair[2]]
    if odd:
        raise DataError(
            f"{whose} other images, or with images in other splits, than are there now: bring those back, or "
            f"start a new run. Differing: {', '.join(name for name, *_ in odd)}. "
            f"Expected: {odd[0][1]} of {odd[0][0]}. Received: {odd[0][2]}"
        )


def recorded(path):
    """What a run's `config.json` records.

    Args:
        path: The file, or its folder.

    Returns:
        Key of the paper, profile, settings as a dict, and fingerprints as `Recipe.fingerprints` gives them; None
        for a run that was cut off before it knew them.

    Raises:
        FractureError: It is not such a file.
    """
    config = _read(path)
    return config["paper"], config["profile"], config["settings"], config.get("fingerprints")


def _read(path):
    """A `config.json`, named by itself or by its folder, as a dict whose parts have the right types."""
    path = Path(path)
    path = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        parts = str(config["paper"]), str(config["profile"]), dict(config["settings"])
        found = config | dict(zip(("paper", "profile", "settings"), parts, strict=True))
        if "fingerprints" in config:
            found["fingerprints"] = {key: dict(value) for key, value in config["fingerprints"].items()}
    except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
        raise FractureError(
            f"{path} records no run: name the config.json of a run folder. Received: {one_line(error)}"
        ) from None
    return found


def configure_as(recipe_class, settings):
    """A recipe with recorded settings, none of which may be missing or of another type than the recipe's own.

    Raises:
        FractureError: They are not this recipe's.
    """
    fields = {field.name: field for field in dataclasses.fields(recipe_class)}
    odd = sorted(set(fields) ^ set(settings))
    if odd:
        raise FractureError(
            f"These are not the settings of this version's {recipe_class.key}: {', '.join(odd)} "
            f"of it or of them have no counterpart. Received: {len(settings)} settings"
        )
    values = {name: _tuples(value) for name, value in settings.items()}
    for name, value in values.items():
        default = fields[name].default
        allowed = (int, float) if type(default) is float else type(default)
        if default is not None and value is not None and not isinstance(value, allowed):
            raise FractureError(
                f"{name} of {recipe_class.key} is a {type(default).__name__}. Received: {value!r}"
            )
    return recipe_class(**values)


def _tuples(value):
    """JSON's lists as the tuples they were."""
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value


def provenance():
    """Command, date and versions of this run."""
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    places = ("--out", "--data-dir")  # where a run lies, and whether it was cut off, changes no number
    arguments = [
        argument
        for before, argument in itertools.pairwise(sys.argv)
        if before not in places and argument.partition("=")[0] not in (*places, "--resume")
    ]
    return {
        # Also where Python was given the package instead: `python -m keras_fracture.cli`.
        "command": shlex.join([Path(sys.argv[0]).name.replace("__main__.py", "keras-fracture"), *arguments]),
        "date": datetime.date.today().isoformat(),
        "versions": {"python": platform.python_version(), **versions},
        "machine": f"{platform.machine()}, {platform.system()}",
        **distribution.facts(),
    }


def load_or_compute(path, make):
    """Arrays that are made once: read from `path` if it is there, else made and written, whole or not at all.

    Args:
        path: An .npz file.
        make: Function that returns a dict of arrays.
    """
    path = Path(path)
    if not path.exists():
        made = make()
        with files.writing(path) as beside, open(beside, "wb") as stream:
            np.savez(stream, **made)
    with np.load(path) as stored:
        return dict(stored)


def seen_by_training(data, sets):
    """Of `metadata.json`: hashes of the X-rays that weights, epochs or a threshold were chosen by.

    Args:
        data: Name of the data set.
        sets: Split name to `Split`.
    """
    both = np.concatenate([sets[name].sources for name in ("train", "validation")])
    return {"seen_sources": {"data": data, "digests": sorted(set(digests(data, both).tolist()))}}


def export_if_missing(model, path, **options):
    """`serving.export`, unless a run that was cut off has done that."""
    if not (Path(path) / "1").exists():
        serving.export(model, path, **options)


def as_grey(images):
    """Grey images `(n, height, width, 1)` from images with one or three channels, all uint8."""
    return np.rint(images.mean(axis=3, keepdims=True)).astype(np.uint8)
