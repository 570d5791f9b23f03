"""Odd paths, lying headers and broken connections, to a server that was really started."""

import contextlib
import json
import re
import socket

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keras_fracture.serving import limits
from tests.serving.asking import PREDICT, WAIT, predictions, rows

SECRETS = re.compile(r"Traceback|site-packages|\.py\b|keras_fracture|saved_models|root:")
HALF_OPEN = 200  # connections


@pytest.fixture(autouse=True)
def unharmed(server, files):
    """After each test a good request has the answer it had before."""
    before = predictions(server.post(PREDICT, rows(*files)))
    yield
    np.testing.assert_allclose(predictions(server.post(PREDICT, rows(*files))), before, atol=1e-6)


def connected(server):
    return socket.create_connection(("127.0.0.1", server.rest), timeout=WAIT)


def head(path=PREDICT, method="POST", **headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Content-Type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def said(server, request):
    """Status and reason of what comes back until the server closes the connection."""
    with connected(server) as line:
        # The server may have refused, and closed, before it has read everything.
        with contextlib.suppress(ConnectionError):
            line.sendall(request)
        parts = []
        with contextlib.suppress(ConnectionError):
            while part := line.recv(2**16):
                parts.append(part)
    answer, _, body = b"".join(parts).partition(b"\r\n\r\n")
    text = body.decode()
    return int(answer.split()[1]), json.loads(text)["error"] if text.startswith('{"error"') else text


def refused(server, request, *statuses):
    status, reason = said(server, request)
    assert status in statuses, (status, reason)
    assert reason and "\n" not in reason and len(reason) < 300 and not SECRETS.search(reason)


# How a path may be spelt on the wire.
part = st.lists(
    st.sampled_from(
        ["%00", "%0A", "%0D", "%2F", "%2e%2e", "..", "%ff", "%ED%A0%80", "%F0%9F%98%80", "%", "%zz"]
    )
    | st.sampled_from(
        ["cnn", "gan", ":predict", "versions", "2", "abc", "-1", "9" * 5000, "infer", "/", "?", "#"]
    ),
    max_size=5,
).map("".join)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(
    st.sampled_from(
        ["/{}", "/v1/models/{}:predict", "/v1/models/cnn/versions/{}:predict", "/v1/models/cnn{}"]
    )
    | st.sampled_from(
        ["/v2/models/{}/infer", "/v2/models/cnn/versions/{}/infer", "/v2/repository/models/x{}/load"]
    ),
    part,
)
@example("/v1/models/cnn{}", ":explain")
@example("/v1/models/cnn{}", "%2F")
@example("/v1/models/{}:predict", "a%0Ab")
@example("/v1/models/{}:predict", "..%2F..%2Fetc%2Fpasswd")
@example("/v2/models/cnn/versions/{}/infer", "2%0A")
@example("/v1/models/{}:predict", "a" * 60_000)
def test_odd_paths(server, path, content):
    request = head(path.format(content), Content_Length=2, Connection="close") + b"{}"
    if said(server, request) != (307, ""):  # a slash too many
        refused(server, request, 400, 403, 404, 405)


BODIES = {
    "length no number": head(Content_Length="x") + b"{}",
    "length below zero": head(Content_Length=-1) + b"{}",
    "length with a sign": head(Content_Length="+2") + b"{}",
    "length of thirty digits": head(Content_Length="9" * 30) + b"{}",
    "no length": head(Content_Length="") + b"{}",
    "two lengths": head(Content_Length="2\r\nContent-Length: 3") + b"{}}",
    "length and chunks": head(Content_Length=2, Transfer_Encoding="chunked") + b"2\r\n{}\r\n0\r\n\r\n",
    "unknown encoding": head(Transfer_Encoding="x") + b"{}",
    "chunk no number": head(Transfer_Encoding="chunked") + b"zz\r\n{}\r\n0\r\n\r\n",
    "chunk below zero": head(Transfer_Encoding="chunked") + b"-2\r\n{}\r\n0\r\n\r\n",
    "chunk of eighteen digits": head(Transfer_Encoding="chunked") + b"f" * 18 + b"\r\n{}\r\n",
    "length too short": head(Content_Length=1) + b"{}\r\n\r\n",
    "zero byte in a header": head(Content_Length=2, X="a\0b") + b"{}",
    "no HTTP": b"\x00\xff\xfe\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "unknown method": head(method="FOO", Content_Length=2) + b"{}",
    "other method": head(method="DELETE", Content_Length=2, Connection="close") + b"{}",
    "asks for another protocol": head(method="GET", Connection="close, Upgrade", Upgrade="websocket"),
    "unreadable Accept": head(
        "/metrics", "GET", Accept="application/openmetrics-text; version=x", Connection="close"
    ),
}


@pytest.mark.parametrize("kind", BODIES)
def test_headers_that_lie(server, kind):
    refused(server, BODIES[kind], 400, 404, 405)


def test_a_body_in_chunks_is_refused_at_the_limit(server):
    chunk = b"%x\r\n" % 2**20 + b" " * 2**20 + b"\r\n"
    request = head(Transfer_Encoding="chunked", Connection="close") + chunk * (
        limits.MAX_REQUEST // 2**20 + 1
    )
    refused(server, request, 413)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_half_a_request_and_gone(server, files, share):
    body = json.dumps(rows(*files)).encode()
    request = head(Content_Length=len(body)) + body
    for reset in (False, True):
        with connected(server) as line:
            line.sendall(request[: int(share * len(request))])
            if reset:  # gone without a word
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            else:
                line.shutdown(socket.SHUT_WR)
                assert line.recv(1000) == b""


def test_a_client_that_does_not_wait_for_its_answer(server, files):
    body = json.dumps(rows(*files)).encode()
    for _ in range(20):
        with connected(server) as line:
            line.sendall(head(Content_Length=len(body)) + body)


def test_slow_connections_do_not_hold_up_others(server, files):
    body = json.dumps(rows(files[0])).encode()
    request = head(Content_Length=len(body), Connection="close") + body
    answer = predictions(server.post(PREDICT, rows(files[0])))
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(connected(server)) for _ in range(HALF_OPEN)]
        for sent, line in enumerate(lines):
            line.sendall(request[: 1 + sent * (len(request) - 1) // HALF_OPEN])
        np.testing.assert_allclose(predictions(server.post(PREDICT, rows(files[0]))), answer, atol=1e-6)
        # Nor are they forgotten.
        sent = 1 + 100 * (len(request) - 1) // HALF_OPEN
        lines[100].sendall(request[sent:])
        parts = list(iter(lambda: lines[100].recv(2**16), b""))
    late = json.loads(b"".join(parts).partition(b"\r\n\r\n")[2])["predictions"]
    np.testing.assert_allclose(late, answer, atol=1e-6)
