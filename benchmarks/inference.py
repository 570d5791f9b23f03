"""Files to probabilities, beside PyTorch: `python -m benchmarks inference`."""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import keras
import numpy as np
import tensorflow as tf

from benchmarks import twins
from benchmarks.errors import BenchmarkError
from benchmarks.models import cpu_times, share_of_others
from benchmarks.serving import image_files
from keras_fracture import serving
from keras_fracture.data import Preprocess, decoding
from keras_fracture.data.images import prepare
from keras_fracture.data.library_settings import one_opencv_thread
from keras_fracture.interop.torch import load_torch_weights
from keras_fracture.models.preprocessing import scale
from keras_fracture.serving.versions import loaded

NETWORKS = (("compact_cnn", 64), ("resnet18", 224))
BATCHES = (1, 32)
_SERVE_BYTES, _PYTORCH = "serve_bytes", ("TorchScript", "torch.compile")
_ROUND = 4  # timed calls before the next one has its turn
_TOLERANCE = 0.002  # of a probability


def measure_inference(
    name="phantom", rounds=8, networks=NETWORKS, batches=BATCHES, compiled=True, data_dir=None
):
    """Times an exported classifier on the bytes of JPEG files beside the same network in PyTorch.

    Ours is `serve_bytes` of the SavedModel, which decodes, equalises and resizes in TensorFlow; and `serving_default`
    on what `data.images.prepare` makes of the files with OpenCV. PyTorch's twin has our weights, and is given the same
    pixels by OpenCV and Pillow, a thread for every core. They take turns in one process, all in float32.

    Args:
        name: Data set whose files are asked for; what is no JPEG is turned into one.
        rounds: Turns of four calls; medians of all calls count.
        networks: Names of classifiers that have twins, and sides of their images in pixels.
        batches: Images a call.
        compiled: Whether to measure `torch.compile`, which needs a C++ compiler; where that fails its numbers are None.
        data_dir: Where real data lie.

    Returns:
        A dict of name to number: "NETWORK, SIDE pixels, batch of N, HOW: WHAT"; `over PyTorch` is images a second
        divided by those of the faster PyTorch; `other programs` the share of the CPU that these used, where it is
        known. Where that is not about 0, the rest says nothing.

    Raises:
        BenchmarkError: PyTorch is missing, `rounds` is not positive, or two answers differ by more than 0.002.
    """
    if rounds < 1:
        raise BenchmarkError(f"rounds must be 1 or more. Received: {rounds}")
    twins.pytorch().set_num_threads(_cores())
    files = [_as_jpeg(data) for data in image_files(name, max(batches), data_dir)]
    numbers = {}
    for network, size in networks:
        with tempfile.TemporaryDirectory() as folder:
            ways = _ways(network, size, Path(folder), compiled)
            for batch in batches:
                title, before = f"{network}, {size} pixels, batch of {batch}", cpu_times()
                timed = _timed(title, ways, (files * batch)[:batch], rounds)
                busy = share_of_others(before, cpu_times(), os.cpu_count())
                numbers |= timed | {f"{title}, {way}: other programs": busy for way in ways}
    return numbers


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _as_jpeg(data):
    if data.startswith(b"\xff\xd8"):
        return data
    return cv2.imencode(".jpg", decoding.decode(data).image)[1].tobytes()


def _ways(name, size, folder, compiled):
    """By name functions of a list of files to probabilities; None for what cannot be had here."""
    keras.utils.set_random_seed(0)
    (network,) = nets = twins.networks(name, size)
    (twin,) = twins.build(twins.plan_twins(name, nets, size))
    load_torch_weights(network, twin.state_dict())
    preprocess = Preprocess(size=size, clahe=(2.0, 8), channels=network.channels)
    endpoints = loaded(serving.export(network, folder / "exported", preprocess=preprocess)).signatures

    def serve_bytes(files):
        return endpoints[_SERVE_BYTES](bytes=tf.constant(files))["probabilities"].numpy()

    def serving_default(files):
        images = tf.constant(prepare(files, preprocess, network.pixel_range))
        return endpoints["serving_default"](images=images)["probabilities"].numpy()

    ways = {_SERVE_BYTES: serve_bytes, "OpenCV, serving_default": serving_default}
    return ways | _of_pytorch(twin, preprocess, network.pixel_range, compiled)


def _of_pytorch(twin, preprocess, pixel_range, compiled):
    import torch

    twin.eval().to(memory_format=torch.channels_last)
    pool = ThreadPoolExecutor(_cores())

    @one_opencv_thread
    def pixels(data):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        return scale(preprocess(image), pixel_range)

    def answering(network):
        def answer(files):
            images = torch.from_numpy(np.stack(list(pool.map(pixels, files)))).permute(0, 3, 1, 2)
            with torch.inference_mode():
                return torch.softmax(network(images), 1).numpy()

        return answer

    side = preprocess.size
    example = torch.zeros(1, preprocess.channels, side, side).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        script = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(twin, example)))
    ways = dict.fromkeys(_PYTORCH) | {_PYTORCH[0]: answering(script)}
    if compiled:
        network = torch.compile(twin)
        try:
            with torch.inference_mode():
                network(example)
            ways[_PYTORCH[1]] = answering(network)
        except Exception as error:  # of many types: no C++ compiler, or one that it does not know
            print(f"torch.compile does not work here: {type(error).__name__}")
    return ways


def _timed(title, ways, files, rounds):
    """Numbers of one network and one size of batches."""
    usable = {name: way for name, way in ways.items() if way}
    answers = {name: way(files) for name, way in usable.items()}
    for name, answer in answers.items():
        difference = np.abs(answer - answers[_SERVE_BYTES]).max()
        if difference > _TOLERANCE:
            raise BenchmarkError(
                f"{title}: {name} must answer as {_SERVE_BYTES} does. Received: {difference:.4f} off"
            )
    seconds = {name: [] for name in usable}
    for _ in range(rounds):
        for name, way in usable.items():
            way(files)
            seconds[name] += [twins.seconds(lambda way=way: way(files)) for _ in range(_ROUND)]
    medians = {name: float(np.median(times)) for name, times in seconds.items()}
    best = min(medians[name] for name in _PYTORCH if name in medians)
    numbers = {}
    for name in ways:
        time = medians.get(name)
        numbers |= {
            f"{title}, {name}: ms": time and 1000 * time,
            f"{title}, {name}: images/s": time and len(files) / time,
            f"{title}, {name}: over PyTorch": time and best / time,
        }
    return numbers
