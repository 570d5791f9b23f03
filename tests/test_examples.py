"""Examples run, and what they write is what the next command reads."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from keras_fracture import cli
from keras_fracture.data import decoding

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not importlib.util.find_spec("torchvision"), reason="torchvision is not installed")
def test_the_pytorch_baseline_goes_from_images_to_scores(tmp_path, capsys):
    for number in range(60):
        folder = tmp_path / "hands" / ("healthy" if number % 2 else "fractured")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32), np.uint8)
        (folder / f"{number}.png").write_bytes(decoding.encode_png(pixels))
    program, out = ROOT / "examples" / "pytorch_baseline.py", tmp_path / "predictions.csv"
    assert len(program.read_text().splitlines()) < 150
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [
        sys.executable,
        program,
        "--data",
        tmp_path / "hands",
        "--size",
        32,
        "--seeds",
        2,
        "--epochs",
        2,
    ]
    subprocess.run(
        [str(word) for word in (*command, "--steps", 1, "--out", out)],
        env=os.environ | {"PYTHONPATH": paths},
        check=True,
    )
    rows = pd.read_csv(out)
    assert rows.groupby("seed")["probability"].nunique().min() > 1, "seeds and images differ"
    assert rows["probability"][rows["seed"] == 0].tolist() != rows["probability"][rows["seed"] == 1].tolist()
    capsys.readouterr()
    assert cli.main(["score", str(out), "--data", str(tmp_path / "hands")]) == 0
    assert "seeds: 2" in capsys.readouterr().out
