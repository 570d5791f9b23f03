"""The environment of all tests; set before anything imports TensorFlow."""

import ipaddress
import os
import socket
import tempfile

import pytest

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")
# Whether a line of progress is printed depends on how long a stage takes; the tests of progress switch it on.
os.environ["TQDM_DISABLE"] = "1"
# Not in a fixture: the builders' tests lie in the package, where the fixtures of tests/ do not reach.
_CACHE = tempfile.TemporaryDirectory(prefix="keras_fracture-")
os.environ["KERAS_FRACTURE_CACHE"] = _CACHE.name


@pytest.fixture(autouse=True, scope="session")
def _loopback_only():
    """No test reaches another machine: a connection to one fails at once, and says so."""
    connect = socket.socket.connect

    def guarded(one, address):
        if one.family in (socket.AF_INET, socket.AF_INET6):
            host = "127.0.0.1" if address[0] in ("", "localhost") else address[0]
            try:
                local = ipaddress.ip_address(host).is_loopback
            except ValueError:  # a name
                local = False
            if not local:
                raise ConnectionRefusedError(f"tests connect to this machine alone, not to {address[0]}")
        return connect(one, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield
