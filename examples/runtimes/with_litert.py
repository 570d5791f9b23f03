"""Probabilities by LiteRT, without TensorFlow.

keras-fracture export saved_models/compact_cnn --to converted/compact_cnn --format tflite
python examples/runtimes/with_litert.py converted/compact_cnn/1 *.jpg
"""

import sys
from pathlib import Path

from ai_edge_litert.interpreter import Interpreter

from keras_fracture.data import images
from keras_fracture.serving.metadata import preparation

version, *paths = map(Path, sys.argv[1:])
classify = Interpreter(str(version / "model.tflite")).get_signature_runner("serving_default")
prepared = images.prepare([path.read_bytes() for path in paths], *preparation(version))
probabilities = classify(images=prepared)["probabilities"]
for path, row in zip(paths, probabilities, strict=True):
    print(path, *(f"{probability:.6f}" for probability in row))
