"""`keras-fracture serve` under load: `python -m benchmarks server`."""

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count as counter
from pathlib import Path

import keras
import numpy as np
import psutil
import requests
import tensorflow as tf

from benchmarks.errors import BenchmarkError
from keras_fracture import models, serving
from keras_fracture.data import Preprocess, decoding, phantom
from keras_fracture.errors import FractureError
from keras_fracture.serving.versions import loaded, version_of

_UNLOADED = 200  # requests of a single client, for the overhead
_IMAGES = 20  # different ones, in turn
_TOLERANCE = 1e-5  # of a probability: TensorFlow's sums depend on how threads share them


def measure_server(requests_=2000, clients=8, model=None):
    """Starts a server, asks it one image at a time, alone and from several clients at once, and the SavedModel too.

    Args:
        requests_: Over REST, from all clients together. Each is checked against the SavedModel's own answer.
        clients: Asking at once.
        model: SavedModel folder of a classifier; default is an untrained `compact_cnn` at 64 pixels with CLAHE.

    Returns:
        A dict of name to number. Times in milliseconds, as the client sees them; memory of the server's process, MiB.

    Raises:
        BenchmarkError: Fewer than ten requests a client, no `serve_bytes`, or the server does not start.
        ModelError: `model` holds no SavedModel exported by this package.
    """
    if clients < 1 or requests_ < 10 * clients:
        raise BenchmarkError(
            f"Want ten requests a client or more. Received: {requests_} from {clients} clients"
        )
    images = phantoms(_IMAGES)
    with tempfile.TemporaryDirectory() as folder:
        version = version_of(model) if model else _untrained(Path(folder) / "exported")
        served = Path(folder) / "models"
        shutil.copytree(version, served / "model" / "1")
        saved = loaded(version)
        if "serve_bytes" not in saved.signatures:
            raise BenchmarkError(
                f"{version} answers no bytes: export the model again, with its preprocessing"
            )
        serve = saved.signatures["serve_bytes"]

        def direct(data):
            return serve(bytes=tf.constant([data]))["probabilities"].numpy()

        expected = [direct(data) for data in images]
        with (
            started(served) as (process, http, grpc),
            serving.connect(http, "model") as rest,
            serving.connect(grpc, "model") as remote,
        ):
            predict = {"SavedModel": direct, "REST": _predict_by(rest), "gRPC": _predict_by(remote)}
            numbers = _latency(predict, images)
            numbers |= _load(rest, process, images, expected, requests_, clients)
            numbers |= {
                f"{name}, {clients} at once, a second": _rate(predict[name], images, requests_, clients)
                for name in ("SavedModel", "gRPC")
            }
    return numbers


def _predict_by(client):
    return lambda data: client.predict([data])


def _latency(predict, images):
    """Times of one client, by what it calls: a dict of name to function of an image's bytes."""
    times = {name: [] for name in predict}
    for number in range(_UNLOADED + _IMAGES):
        for name, function in predict.items():  # in turn, so that a slow moment meets all
            start = time.perf_counter()
            function(images[number % _IMAGES])
            times[name].append(1000 * (time.perf_counter() - start))
    medians = {name: float(np.median(milliseconds[_IMAGES:])) for name, milliseconds in times.items()}
    direct, *others = medians
    return {f"{name}, one client, p50 ms": medians[name] for name in medians} | {
        f"overhead of {name} over {direct}, ms": medians[name] - medians[direct] for name in others
    }


def _rate(function, images, count, threads):
    """Calls a second of a function of an image's bytes, from several threads at once."""
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda number: function(images[number % len(images)]), range(count)))
    return count / (time.perf_counter() - began)


def _load(client, process, images, expected, requests_, clients):
    numbers, times, memory, lost, wrong = counter(), [], [], [], []

    def send(_):
        for number in iter(lambda: next(numbers), None):
            if number >= requests_:
                return
            start = time.perf_counter()
            try:
                answer = client.predict([images[number % _IMAGES]])
            except FractureError as error:
                lost.append(error)
                continue
            times.append(time.perf_counter() - start)
            if np.abs(answer - expected[number % _IMAGES]).max() > _TOLERANCE:
                wrong.append(number)
            if number % (requests_ // 10) == 0:
                memory.append(process.memory_info().rss / 2**20)

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(send, range(clients)))
    seconds = time.perf_counter() - began
    return {
        f"REST, {clients} clients: requests": requests_,
        "requests lost": len(lost),
        "answers unlike the SavedModel's": len(wrong),
        "p50 ms": 1000 * float(np.quantile(times, 0.5)) if times else np.nan,
        "p99 ms": 1000 * float(np.quantile(times, 0.99)) if times else np.nan,
        "requests a second": len(times) / seconds,
        "server's memory after a tenth, MiB": memory[1] if len(memory) > 1 else np.nan,
        "server's memory, most from there on, MiB": max(memory[1:], default=np.nan),
        "server's memory at the end, MiB": process.memory_info().rss / 2**20,
    }


def phantoms(count):
    """The first phantoms as PNG files, a list of bytes."""
    return [decoding.encode_png(record["image"][..., 0]) for record in phantom.records(seed=1)[:count]]


@contextlib.contextmanager
def exported(count):
    """A folder of one small untrained model `cnn`, gone when the context is left, and so many phantoms to ask it."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        _untrained(Path(folder) / "cnn", 32)
        yield folder, phantoms(count)


@contextlib.contextmanager
def started(folder, ports=None):
    """`keras-fracture serve FOLDER` in a process of its own, until the context is left.

    Args:
        folder: Of models, see `serving.server.serve`.
        ports: Of REST and of gRPC; free ones if left out.

    Yields:
        The `psutil.Popen`, and the server's addresses for `serving.connect`: of REST and of gRPC.

    Raises:
        BenchmarkError: The server does not start.
    """
    ports = ports or free_ports()
    command = [sys.executable, "-m", "keras_fracture.cli", "serve", str(folder)]
    command += ["--rest-port", str(ports[0]), "--grpc-port", str(ports[1])]
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    http, grpc = f"http://127.0.0.1:{ports[0]}", f"grpc://127.0.0.1:{ports[1]}"
    try:
        while not _ready(http):
            if process.poll() is not None:
                raise BenchmarkError(
                    "The server does not start: try `keras-fracture serve` with the same model"
                )
            time.sleep(0.2)
        yield process, http, grpc
    finally:
        process.terminate()
        process.wait(120)  # a starved machine takes half a minute to take TensorFlow down


def _ready(url):
    with contextlib.suppress(requests.RequestException):
        return requests.get(f"{url}/v2/health/ready", timeout=60).ok
    return False


def free_ports():
    """Two ports of this machine that nobody listens at."""
    with socket.socket() as one, socket.socket() as other:
        for listener in (one, other):
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in (one, other)]


def _untrained(folder, size=64):
    keras.utils.set_random_seed(0)
    network = models.create("compact_cnn", image_size=size)
    return serving.export(network, folder, preprocess=Preprocess(size=size, clahe=(2.0, 8)))
