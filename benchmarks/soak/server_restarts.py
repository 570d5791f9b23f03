"""A server that is killed under requests and started again, over and over: what do its clients lose?"""

import collections
import threading
import time

import numpy as np

from benchmarks import server
from keras_fracture import serving
from keras_fracture.errors import FractureError

CLIENTS = 2  # of each protocol
RETRIES = 8
UP = 3.0  # seconds between a start and the next SIGKILL
TOLERANCE = 1e-5  # of a probability: TensorFlow's sums depend on how threads share them
IMAGES = 20


def restarts(options):
    """Asks one server from clients of both protocols, while it gets SIGKILL as often as told and is started again."""
    with server.exported(IMAGES) as (folder, images):
        tallies, down = _disturbed(folder, images, options.times)
    for protocol, tally in tallies.items():
        asked = tally.total()
        details = dict(tally) | {"kills": options.times, "longest_without_server_s": round(max(down), 1)}
        details["seen"] = (
            f"{options.times} kills, {max(down):.0f} s at most until it was back; {tally['lost']} lost, "
            f"{tally['wrong']} wrong"
        )
        what = f"requests over {protocol} to a server that is killed, `--retries {RETRIES}`"
        yield f"restarts/{protocol}", what, asked, tally["answered"], details


def _disturbed(folder, images, times):
    """How requests ended, by protocol, and for how many seconds each time there was no server."""
    ports = server.free_ports()
    tallies, down, over = collections.defaultdict(collections.Counter), [], threading.Event()
    first, lock = {}, threading.Lock()

    def ask(protocol, url):
        number = 0
        with serving.connect(url, "cnn", retries=RETRIES) as client:
            while not over.is_set():
                which = number % len(images)
                try:
                    made = client.predict([images[which]])
                    close = np.abs(made - first.setdefault(which, made)).max() <= TOLERANCE
                    outcome = "answered" if close else "wrong"
                except FractureError:
                    outcome = "lost"
                with lock:
                    tallies[protocol][outcome] += 1
                number += 1

    threads = []
    for kill in range(times + 1):
        began = time.monotonic()
        with server.started(folder, ports) as (process, http, remote):
            if kill:
                down.append(time.monotonic() - began)
            else:
                asked = [("REST", http), ("gRPC", remote)] * CLIENTS
                threads = [threading.Thread(target=ask, args=each) for each in asked]
                for thread in threads:
                    thread.start()
            time.sleep(UP)
            if kill < times:
                process.kill()
            else:
                over.set()
                for thread in threads:
                    thread.join()
    return tallies, down
