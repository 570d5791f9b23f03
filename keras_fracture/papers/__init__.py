"""One recipe a paper, by key."""

import contextlib
import dataclasses
import importlib

from keras_fracture.errors import FractureError

_RECIPES = {
    "bai_dcgan": "BaiDCGAN",
    "garcia_inception": "GarciaInception",
    "gupta_unit": "GuptaUNIT",
    "ibrahim_gan": "IbrahimGAN",
    "lisbon_resnet": "LisbonResNet",
    "xray_features": "XrayFeatures",
}


def keys():
    """Keys of the papers that can be reproduced."""
    return list(_RECIPES)


def get(key):
    """The recipe class of a paper.

    Raises:
        FractureError: No such paper.
    """
    if key not in _RECIPES:
        raise FractureError(f"No such paper. Choose one of {', '.join(_RECIPES)}. Received: {key!r}")
    return getattr(importlib.import_module(f"keras_fracture.papers.{key}"), _RECIPES[key])


def reproduce(
    key, profile="quick", *, out=None, resume=False, data_dir=None, results=None, strategy=None, overrides=(),
    **settings,
):  # fmt: skip
    """Carries out a paper's recipe.

    Args:
        key: One of `keys()`.
        profile: "smoke", "quick" or "paper".
        out: Run folder; default `runs/KEY/TIME`.
        resume: Go on with a run that was cut off.
        data_dir: Where real data lie.
        results: Folder whose `KEY.json` also gets the numbers, or None.
        strategy: What trainings are spread over, see `training.distribution.using`; changes no number but by
            rounding, dropout and augmentation.
        overrides: Further settings as `NAME=VALUE`, see `recipe.settings_of`.
        **settings: Numbers of the recipe that win over the profile's.

    Returns:
        The run folder; None on workers other than the first, which keep nothing.
    """
    from keras_fracture.papers import recipe

    named = recipe.settings_of(get(key), overrides)
    chosen = recipe.configure(get(key), profile, **settings | named)
    # What is not given is None too, and left out: a None that was asked for comes last.
    chosen = dataclasses.replace(chosen, **{name: None for name, value in named.items() if value is None})
    return _carry_out(chosen, profile, out, resume, data_dir, results, strategy)


def repeat(config, *, out=None, resume=False, data_dir=None, results=None, strategy=None):
    """Carries a run out again, with all settings that its `config.json` records.

    On one machine, in float32 on a CPU and with the same versions, its numbers are the same to the last digit.

    Args:
        config: Path of the file, or of the run folder that holds it.
        out: As in `reproduce`, and so are all below.
        resume: Go on with a run that was cut off.
        data_dir: Where real data lie.
        results: Folder.
        strategy: Name.

    Returns:
        As `reproduce`.

    Raises:
        FractureError: The file records no run.
        DataError: The images are not those of the recorded run.
    """
    from keras_fracture.papers import recipe

    key, profile, settings, fingerprints = recipe.recorded(config)
    chosen = recipe.configure_as(get(key), settings)
    if fingerprints is not None:
        recipe.same_images(fingerprints, chosen.fingerprints(data_dir), f"{config} records a run with")
    return _carry_out(chosen, profile, out, resume, data_dir, results, strategy)


def _carry_out(chosen, profile, out, resume, data_dir, results, strategy):
    from keras_fracture.papers import recipe
    from keras_fracture.report import results as kept
    from keras_fracture.training import distribution, precision

    with distribution.using(strategy), precision.using(chosen.precision) as computed_in:
        chief = distribution.chief()
        folder = recipe.run_folder(chosen.key, out, resume) if chief or resume else out
        with recipe.run_lock(folder) if chief else contextlib.nullcontext():
            with distribution.worker_dir(folder) as own:
                config = recipe.begin(chosen, profile, own, resume, computed_in)
                recipe.record_images(chosen, config, own, data_dir)
                # "auto" may be another precision here than on the machine that the run was started on.
                with precision.using(config["computed_in"]):
                    metrics = chosen.run(own, data_dir)
            if chief and results:
                kept.keep(results, config, metrics, folder)
    return folder if chief else None
