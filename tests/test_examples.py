"""Examples run, and what they write is what the next command reads."""

import importlib.util
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from keras_fracture import cli, inference
from keras_fracture.data import decoding

ROOT = Path(__file__).parents[1]
# Runs an example as Python would, with no way to other machines, and not with TensorFlow's help.
ALONE = """
import runpy, socket, sys

def refuse(*given):
    raise SystemExit(f"a connection was opened: {given[1:]}")

socket.socket.connect = socket.getaddrinfo = refuse
del sys.argv[0]
runpy.run_path(sys.argv[0])
assert not {"tensorflow", "keras"} & set(sys.modules)
"""


@pytest.fixture
def hands(tmp_path):
    """A folder of 60 noisy images of two classes."""
    for number in range(60):
        folder = tmp_path / "hands" / ("healthy" if number % 2 else "fractured")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32), np.uint8)
        (folder / f"{number}.png").write_bytes(decoding.encode_png(pixels))
    return tmp_path / "hands"


def test_a_loss_of_ones_own_trains_a_gan(hands, monkeypatch, capsys):
    program = ROOT / "examples" / "own_gan_loss.py"
    monkeypatch.setattr(sys, "argv", [str(program), "--data", str(hands), "--steps", "3", "--width", "4"])
    ran = runpy.run_path(str(program))
    lines = [line for line in capsys.readouterr().out.splitlines() if "KID" in line]
    assert [line.split(":")[0] for line in lines] == ["non_saturating", "PearsonLeastSquares"]
    assert len({line.split()[2] for line in lines}) == 2, "the losses train other generators"
    loss = ran["PearsonLeastSquares"]()
    assert float(loss.discriminator(np.ones((4, 1)), -np.ones((4, 1)))) == 0
    assert float(loss.generator(np.full((4, 1), 2.0))) == 2


def test_the_page_on_extending_has_a_loss_that_trains(hands):
    text = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, re.S)[0]
    assert "no such loss" in text.lower() and '"pearson": PearsonLeastSquares,' in text, (
        "before --set loss=pearson"
    )
    assert 'load("phantom")' in code and "epochs=10" in code
    code = code.replace('load("phantom")', f'load("{hands}")').replace("width=16", "width=4")
    made = {}
    exec(code.replace("epochs=10", "epochs=1"), made)
    assert made["drawn"].shape == (16, 64, 64, 1) and made["drawn"].dtype == np.uint8


@pytest.mark.skipif(not importlib.util.find_spec("torchvision"), reason="torchvision is not installed")
def test_the_pytorch_baseline_goes_from_images_to_scores(hands, tmp_path, capsys):
    program, out = ROOT / "examples" / "pytorch_baseline.py", tmp_path / "predictions.csv"
    assert len(program.read_text().splitlines()) < 150
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [
        sys.executable,
        program,
        "--data",
        hands,
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
    assert cli.main(["score", str(out), "--data", str(hands)]) == 0
    assert "seeds: 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("runtime", "form", "packages"),
    [
        ("onnxruntime", "onnx", ["onnxruntime", "tf2onnx"]),
        ("litert", "tflite", ["ai_edge_litert"]),
        ("openvino", "onnx", ["openvino", "onnxruntime", "tf2onnx"]),
    ],
)
def test_other_runtimes_give_the_probabilities_of_predict(runtime, form, packages, radiographs, tmp_path):
    for package in packages:
        pytest.importorskip(package)
    from keras_fracture.serving import converting

    saved = ROOT / "saved_models" / "resnet18_fracatlas"
    version, _ = converting.convert(form, saved / "1", tmp_path / "converted")
    paths = [tmp_path / f"{number}.png" for number in range(len(radiographs))]
    for path, image in zip(paths, radiographs, strict=True):
        path.write_bytes(decoding.encode_png(image))
    program = ROOT / "examples" / "runtimes" / f"with_{runtime}.py"
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *map(str, (program, version, *paths))],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = dict(inference.predict(saved, paths))
    assert np.ptp(list(expected.values()), axis=0).max() > 0.01
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [name for name, *_ in rows] == [str(path) for path in paths]
    for name, *probabilities in rows:
        np.testing.assert_allclose(np.array(probabilities, float), expected[name], atol=1e-5)
