"""Writes the cards of the models of `saved_models/`, lists and packs them: `python -m scripts.index_models`.

Archives go to `dist/models/NAME.tar`; put them beside the wheel of the release. The wheel brings those that are
`bundled`.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from keras_fracture.data import catalogue, sheets
from keras_fracture.files import write_text
from keras_fracture.inference import generating
from keras_fracture.models.preprocessing import scale, unscale
from keras_fracture.serving import card, loading, zoo
from keras_fracture.serving.metadata import facts_of
from keras_fracture.serving.versions import models_in, version_of
from scripts import train_translator

CHECKOUT = Path(__file__).resolve().parents[1]
BUNDLED = (
    "compact_cnn",
    "efficientnet_lite0_fracatlas",
    "resnet18_fracatlas",
    "dcgan_phantom",
)  # under 20 MB
SHOWN = ("auc", "accuracy", "kid")


def main():
    """Writes the index and the archives; returns the exit code."""
    models = {}
    for folder in models_in(CHECKOUT / zoo.FOLDER):
        write_card(folder)
        out = CHECKOUT / "dist" / "models" / f"{folder.name}.tar"
        out.parent.mkdir(parents=True, exist_ok=True)
        models[folder.name] = entry(folder, zoo.archive(folder, out).read_bytes())
        print(f"{folder.name}: {models[folder.name]['bytes']:,} bytes")
    write_text(CHECKOUT / zoo.FOLDER / "index.json", json.dumps({"models": models}, indent=1) + "\n")
    return 0


def write_card(folder):
    """A model's page: what is known of it, the licence of its images, and some images of what draws or paints.

    Both go into its metadata too, so that whatever is exported from it says them.
    """
    version = version_of(folder)
    facts = facts_of(version)
    known = facts | {"licence": catalogue.layout(_data(facts)).LICENCE}
    samples = version / card.SAMPLES
    if "latent_dim" in facts["config"]:
        if not samples.exists():
            source = generating.load(folder)
            labels = np.arange(32) % source.num_classes if source.num_classes else None
            sheets.grid(np.stack(list(generating.draw(source, 32, 0, labels))), samples)
        known["samples"] = "What it draws, healthy and with a finding in turn"
    if facts["architecture"] == "UNIT":
        if not samples.exists():
            healthy = train_translator.held_out(1000)[0][:8]  # of those that were measured
            sheets.grid(np.concatenate([healthy, translated(version, healthy)]), samples, 8)
        known["samples"] = "Healthy patches of held-out phantoms, and below each its translation"
    if known != facts:
        write_text(version / "metadata.json", json.dumps(known, indent=1) + "\n")
    write_text(version / "model_card.md", card.text(folder.name, known))


def translated(version, images):
    """Images as a translator paints them, uint8."""
    network = loading.load(version)
    return unscale(network(scale(images, network.pixel_range), training=False), network.pixel_range)


def _task(facts):
    if facts["architecture"] == "UNIT":
        return "paints lesions"
    return "draws X-rays" if "latent_dim" in facts["config"] else "finds findings"


def _data(facts):
    return facts["trained_on"].split(",")[0]


def entry(folder, packed):
    """What the index says of one model, from its newest version and its archive's bytes."""
    version = version_of(folder)
    facts = facts_of(version)
    data = _data(facts)
    return {
        "task": _task(facts),
        "data": data,
        "licence": catalogue.layout(data).LICENCE,
        "parameters": facts["parameters"],
        "metrics": {name: facts["metrics"][name] for name in SHOWN if name in facts["metrics"]},
        "card": f"{folder.name}/{version.name}/model_card.md",
        "bytes": len(packed),
        "sha256": hashlib.sha256(packed).hexdigest(),
        "bundled": folder.name in BUNDLED,
    }


if __name__ == "__main__":
    sys.exit(main())
