"""Probabilities by ONNX Runtime, without TensorFlow.

keras-fracture export saved_models/compact_cnn --to converted/compact_cnn --format onnx
python examples/runtimes/with_onnxruntime.py converted/compact_cnn/1 *.jpg
"""

import sys
from pathlib import Path

import onnxruntime

from keras_fracture.data import images
from keras_fracture.serving.metadata import preparation

version, *paths = map(Path, sys.argv[1:])
session = onnxruntime.InferenceSession(version / "model.onnx", providers=["CPUExecutionProvider"])
prepared = images.prepare([path.read_bytes() for path in paths], *preparation(version))
(probabilities,) = session.run(["probabilities"], {"images": prepared})
for path, row in zip(paths, probabilities, strict=True):
    print(path, *(f"{probability:.6f}" for probability in row))
