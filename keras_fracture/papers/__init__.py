"""The papers: a folder each, named by its key, with `config`, `experiment` and `report`; no other registry."""

import dataclasses
import importlib
import pkgutil
from types import ModuleType

from keras_fracture.errors import FractureError, meant
from keras_fracture.settings import refuse_two

__all__ = ["get", "names", "repeat", "reproduce"]


def __dir__():
    return sorted(__all__)


@dataclasses.dataclass(frozen=True)
class Paper:
    """One paper.

    Attributes:
        key: Name of its folder.
        config: Module with its numbers, `Config`.
    """

    key: str
    config: ModuleType

    @property
    def experiment(self):
        """Module with `run(config, run)`: data, training, evaluation, export."""
        return importlib.import_module(f"{__name__}.{self.key}.experiment")

    @property
    def report(self):
        """Module with `write(config, results, run)`, `table(runs)`, `compare(run)` and `HEADLINES`."""
        return importlib.import_module(f"{__name__}.{self.key}.report")


def names():
    """Keys of the papers that can be reproduced, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)


def get(key):
    """A paper.

    Args:
        key: One of `names()`.

    Returns:
        A `Paper`.

    Raises:
        FractureError: No such paper.
    """
    if key not in names():
        raise FractureError(
            f"No such paper. Choose one of {', '.join(names())}. {meant(key, names())}Received: {key!r}"
        )
    return Paper(key, importlib.import_module(f"{__name__}.{key}.config"))


def reproduce(
    key, profile="quick", *, out=None, resume=False, data_dir=None, results=None, strategy=None, workers=None,
    overrides=(), **settings,
):  # fmt: skip
    """Reproduces a paper.

    Args:
        key: One of `names()`.
        profile: "smoke", "quick" or "paper".
        out: Run folder; default `runs/KEY/TIME`.
        resume: Go on with a run that was cut off.
        data_dir: Where real data lie.
        results: Folder whose `KEY.json` also gets the numbers, or None.
        strategy: What trainings are spread over, see `training.distribution.using`; changes no number but by
            rounding, dropout and augmentation.
        workers: `parallel.Workers` that train side by side what does not need each other; they change no number.
            None trains in this process.
        overrides: Further settings as `NAME=VALUE`, see `experiment.config.parse_overrides`.
        **settings: Numbers that win over the profile's, see `experiment.config.configure`.

    Returns:
        The run folder; None on workers other than the first, which keep nothing.

    Raises:
        FractureError: Settings contradict each other, are none, or change nothing in this run.
    """
    from keras_fracture.experiment.config import check_used, configure, parse_overrides

    config_class = get(key).config.Config
    named = parse_overrides(config_class, overrides)
    config = configure(config_class, profile, **_given_once(config_class, settings, named))
    check_used(config, profile, settings | named)
    return _execute(config, profile, out, resume, data_dir, results, strategy, workers)


def _given_once(config_class, settings, named):
    """The settings of two sources as one dict; refuses those that contradict each other."""
    for name, value in named.items():
        if settings.get(name) is not None:
            refuse_two(config_class.key, name, settings[name], value)
    given = settings | named
    policies = {name: given[name] for name in ("policy", "policies") if given.get(name) is not None}
    if policies and given.get("splits") is not None:
        name, value = next(iter(policies.items()))
        raise FractureError(
            f"splits of {config_class.key} takes the place of {name}: leave one out. "
            f"Received: {given['splits']!r:.80} and {value!r:.80}"
        )
    return given


def repeat(config, *, out=None, resume=False, data_dir=None, results=None, strategy=None, workers=None):
    """Carries a run out again, with all settings that its `config.json` records.

    On one machine, in float32 on a CPU and with the same versions, its numbers are the same to the last digit.

    Args:
        config: Path of the file, or of the run folder that holds it.
        out: As in `reproduce`, and so are all below.
        resume: Go on with a run that was cut off.
        data_dir: Where real data lie.
        results: Folder.
        strategy: Name.
        workers: `parallel.Workers`, or None.

    Returns:
        As `reproduce`.

    Raises:
        FractureError: The file records no run.
        DataError: The images are not those of the recorded run.
    """
    from keras_fracture.experiment import runs, splits
    from keras_fracture.experiment.config import from_recorded

    recorded = runs.read_config(config)
    chosen = from_recorded(get(recorded["paper"]).config.Config, recorded["settings"])
    if "fingerprints" in recorded:
        received = splits.fingerprints(chosen, data_dir)
        splits.check_fingerprints(recorded["fingerprints"], received, f"{config} records a run with")
    return _execute(chosen, recorded["profile"], out, resume, data_dir, results, strategy, workers)


def _execute(config, profile, out, resume, data_dir, results, strategy, workers):
    from keras_fracture.experiment.runs import execute

    paper = get(config.key)
    return execute(
        config, profile, paper.experiment.run, paper.report.write,
        out=out, resume=resume, data_dir=data_dir, results=results, strategy=strategy, workers=workers,
    )  # fmt: skip
