"""Nothing but what says so opens a connection."""

import socket
import subprocess
import sys

import pytest


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("example.org", 443)])
def test_tests_cannot_reach_other_machines(address):
    with socket.socket() as one, pytest.raises(ConnectionRefusedError, match="this machine alone"):
        one.connect(address)


def test_imports_and_models_open_no_connection():
    program = """
import socket

def refuse(*given):
    raise SystemExit(f"a connection was opened: {given[1:]}")

socket.socket.connect = socket.getaddrinfo = refuse
import keras_fracture.cli
from keras_fracture import data, evaluation, interop, models, papers, report, serving, synthesis, training

from keras_fracture.data import phantom

models.create("compact_cnn")
phantom.records(seed=0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
