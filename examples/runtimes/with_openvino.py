"""Probabilities by OpenVINO, without TensorFlow.

keras-fracture export saved_models/compact_cnn --to converted/compact_cnn --format onnx
python examples/runtimes/with_openvino.py converted/compact_cnn/1 *.jpg
"""

import sys
from pathlib import Path

import openvino

from keras_fracture.data import images
from keras_fracture.serving.metadata import preparation

version, *paths = map(Path, sys.argv[1:])
exact = {"INFERENCE_PRECISION_HINT": "f32"}  # else it computes in bfloat16 on CPUs that can, and is 0.05 off
classify = openvino.Core().compile_model(version / "model.onnx", "CPU", exact)
prepared = images.prepare([path.read_bytes() for path in paths], *preparation(version))
probabilities = classify({"images": prepared})["probabilities"]
for path, row in zip(paths, probabilities, strict=True):
    print(path, *(f"{probability:.6f}" for probability in row))
