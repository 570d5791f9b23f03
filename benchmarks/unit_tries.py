"""Which settings of UNIT paint lesions that look like real ones: `python benchmarks/unit_tries.py --data btxrd`.

A translator of the first body part is trained with each of some settings, one factor changed at a time. Compared is
the kernel distance (KID, features `xray`) between translated healthy patches and lesion patches of the validation
images, which no translator learns from; test images are not looked at. One training of each; a run that was stopped
goes on. The table goes to `results/unit_tries.json`.
"""

import argparse
import datetime
import json
import sys
from pathlib import Path

import numpy as np

from keras_fracture import evaluation, machine
from keras_fracture.experiment.config import configure
from keras_fracture.experiment.runs import Run
from keras_fracture.files import write_text
from keras_fracture.papers.gupta_unit import experiment
from keras_fracture.papers.gupta_unit.config import Config
from keras_fracture.training import precision

CHECKOUT = Path(__file__).resolve().parents[1]
RESULTS = CHECKOUT / "results" / "unit_tries.json"
STEPS = 200  # an epoch's, after each of which the patches are measured
MUNIT = {"preset": "munit", "unit_learning_rate": 5e-4, "unit_ema": 0.999}
# What `unit_phantom` was trained with is the last.
TRIES = {
    "nips2017, learning rate 2e-3 (quick)": {},
    "nips2017, learning rate 5e-4": {"unit_learning_rate": 5e-4, "unit_ema": 0.999},
    "munit": MUNIT,
    "munit, noise 0.3": MUNIT | {"unit_noise": 0.3},
    "munit, discriminators twice as fast": MUNIT | {"unit_d_learning_rate": 1e-3},
    "munit, noise 0.3, discriminators twice as fast": MUNIT
    | {"unit_noise": 0.3, "unit_d_learning_rate": 1e-3},
}


def main(arguments=None):
    """Measures one data set and records it; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="btxrd", help="data set (default: btxrd)")
    parser.add_argument(
        "--steps", type=int, default=3000, help=f"of each training, in epochs of {STEPS} (default: 3000)"
    )
    parser.add_argument(
        "--runs", type=Path, default=CHECKOUT / "runs" / "unit_tries", help="folder of the trainings"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON to write the table into")
    options = parser.parse_args(arguments)
    common = {"data": options.data, "precision": "auto", "unit_steps": STEPS, "unit_eval_every": 1}
    common["unit_epochs"] = max(1, options.steps // STEPS)
    configs = {name: configure(Config, "quick", **common | settings) for name, settings in TRIES.items()}
    with precision.using("auto") as computed_in:
        part, references, rows = measure(configs, options.runs / options.data)
    recorded = json.loads(options.results.read_text(encoding="utf-8")) if options.results.exists() else {}
    first = next(iter(configs.values()))
    recorded[options.data] = {
        "part": part,
        "settings": {name: getattr(first, name) for name in ("patch_size", "width", "unit_batch", "seed")}
        | {"steps": first.unit_epochs * STEPS, "precision": computed_in},
        "machine": machine.described(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "references": references,
        "rows": rows,
    }
    write_text(options.results, json.dumps(recorded, indent=1) + "\n")
    for name, kid in references.items():
        print(f"{name:<56}{kid:.4f}")
    for row in rows:
        print(
            f"{row['try']:<56}{row['kid']:.4f} after {row['step']:,} steps, {row['last_kid']:.4f} at the end"
        )
    return 0


def measure(configs, folder):
    """The part's name, what its patches score untranslated, and a dict for each of the settings."""
    first = next(iter(configs.values()))
    part = experiment.load_parts(first, Run(folder))[0]
    rows = []
    for name, config in configs.items():
        place = folder / name.replace(" ", "-").replace(",", "")
        translator = experiment.train_translator(config, Run(place), part, place)
        chosen = translator.chosen
        rows.append(
            {
                "try": name,
                "kid": chosen["kid"],
                "step": chosen["epoch"] * STEPS,
                "last_kid": chosen["last_kid"],
                "by_epoch": translator.history["kid"].tolist(),
                "minutes": round(translator.history["seconds"].sum() / 60, 1),
            }
        )
    return part.name, reference_distances(first, part, translator.lesions), rows


def reference_distances(config, part, lesions):
    """KID of untranslated healthy patches to lesions, and of lesions of one half of the X-rays to the others."""
    best = experiment.validation_kid(config, part, lesions, Path())
    healthy = evaluation.extract(best.healthy, "xray")
    patches = experiment.lesion_patches(config, part.validation, len(healthy), "validation")
    sources = part.validation.sources[patches.rows]
    names = np.random.default_rng(config.seed).permutation(np.unique(sources))
    half = np.isin(sources, names[: len(names) // 2])
    return {
        "healthy patches as they are": evaluation.kid(best.lesions, healthy)[0],
        "lesion patches of other X-rays": evaluation.kid(best.lesions[half], best.lesions[~half])[0],
    }


if __name__ == "__main__":
    sys.exit(main())
