"""The models of `saved_models/` on the board: `python benchmarks/board.py`, from a checkout, with FracAtlas there.

Each is asked about the test images of the published split by `evaluate`, at its own threshold, and scored by `score`.
"""

import sys
import tempfile
from pathlib import Path

from keras_fracture import cli, data, inference
from keras_fracture.errors import EvaluationError
from keras_fracture.files import write_text
from keras_fracture.inference import scoring

CHECKOUT = Path(__file__).resolve().parents[1]
BOARD = CHECKOUT / "results" / "board"
DATA = "fracatlas"
# Of each split policy: what the models' first weights were trained on; the first is what the others are compared with.
MODELS = {
    "grouped": {
        "efficientnet_lite0_ensemble": "ImageNet",
        "efficientnet_lite0_fracatlas": "ImageNet",
        "resnet18_fracatlas": "nothing",
        "inception_net": "nothing",
        "compact_cnn": "synthetic X-rays of GANs that saw the same images",
    },
    "studies": {"efficientnet_lite0_studies": "ImageNet"},
}


def main():
    """Writes the entries; returns the exit code."""
    return next(filter(None, (submit(policy, models) for policy, models in MODELS.items())), 0)


def submit(policy, models):
    """Writes the entries of models that were trained on a policy's split; returns the exit code."""
    records = data.load(DATA, "test", policy)
    with tempfile.TemporaryDirectory() as folder:
        for name, pretrained in models.items():
            model, path = CHECKOUT / "saved_models" / name, Path(folder) / f"{name}.csv"
            table = inference.evaluate(model, records)
            seen = scoring.seen(model, DATA, table)
            if seen is None or seen.any():
                raise EvaluationError(
                    f"{name} must say that it has seen none of the test images. Received: {seen}"
                )
            write_text(path, scoring.text(table))
            first = BOARD / f"{next(iter(models))}.csv"
            command = [
                "score", path, "--data", DATA, "--policy", policy, "--threshold", scoring.threshold(model),
                "--submit", name, "--board", BOARD, "--who", "keras_fracture",
                "--code", f"this project, saved_models/{name}",
                "--training-data", f"{DATA}, its train split", "--pretrained", pretrained,
                *(["--against", first] if first.stem != name else []),
            ]  # fmt: skip
            if code := cli.main([str(word) for word in command]):
                return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
