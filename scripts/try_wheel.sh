#!/usr/bin/env bash
# What `pip install` brings, in an environment of its own and an empty folder: zoo, prediction, generation, the main job.
#
#     python -m build --outdir dist . && bash scripts/try_wheel.sh dist/keras_fracture-*.whl python3.13
#
# Further arguments go to pip, such as tensorflow==2.20.0 for the oldest one supported.
set -euo pipefail
wheel=$(realpath "$1")
python=$2
shift 2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export TQDM_DISABLE=1 KERAS_FRACTURE_CACHE="${KERAS_FRACTURE_CACHE:-$folder/cache}"
unset PYTHONPATH
"$python" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$wheel" "$@"
PATH="$folder/venv/bin:$PATH"
mkdir "$folder/empty"
cd "$folder/empty"
python -c "import sys, tensorflow, keras, numpy
print(sys.version.split()[0], 'TensorFlow', tensorflow.__version__, 'Keras', keras.__version__, 'NumPy', numpy.__version__)"
keras-fracture models list
python -c "import keras_fracture as kf; print(kf.models.load('resnet18_fracatlas').count_params())"
keras-fracture generate --model dcgan_phantom --count 8 --seed 1 --out drawn
test "$(find drawn -name '*.png' | wc -l)" -ge 8
keras-fracture predict --model efficientnet_lite0_fracatlas drawn
keras-fracture reproduce ibrahim_gan --profile smoke --variant poster --set policies=grouped --out run
test -s run/metrics.json && test -s run/report.html
