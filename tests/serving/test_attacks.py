"""Requests made to cost far more than they weigh: refused in one line, before memory or time is spent."""

import asyncio
import contextlib
import io
import json
import re
import resource
import socket
import struct
import sys
import time
import tracemalloc
import types
import zlib

import grpc
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as v2_pb2
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as v2_grpc
from PIL import Image
from tensorflow_serving.apis import predict_pb2

from keras_fracture.errors import ImageError, RequestError
from keras_fracture.serving import holding, limits
from keras_fracture.serving.client import _batches
from keras_fracture.serving.repository import Model
from tests.serving.asking import PREDICT, WAIT, channel, rows, v2_request
from tests.serving.test_bad_requests import answers_on, refused


def flat(side):
    """A PNG of one grey level, which packs a thousandfold."""
    stream = io.BytesIO()
    Image.new("L", (side, side), 90).save(stream, "PNG", compress_level=9)
    return stream.getvalue()


def many_scans(count, side=200):
    """A progressive JPEG whose last scan is there again and again."""
    stream = io.BytesIO()
    Image.new("L", (side, side), 90).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    last = data.rindex(b"\xff\xc4")
    return data[:-2] + data[last:-2] * count + data[-2:]


def png_chunks(count):
    """A PNG with so many empty chunks of no meaning before its pixels."""
    data, chunk = flat(9), b"\0\0\0\0abCd" + struct.pack(">I", zlib.crc32(b"abCd"))
    return data[:33] + chunk * count + data[33:]


def jpeg_segments(count):
    data = saved_jpeg()
    return data[:2] + b"\xff\xe5\0\2" * count + data[2:]


def saved_jpeg():
    stream = io.BytesIO()
    Image.new("L", (20, 20), 90).save(stream, "JPEG", progressive=True)
    return stream.getvalue()


LONG = {
    "20,000 scans": (lambda: many_scans(20_000), "50 scans"),
    "a million chunks": (lambda: png_chunks(10**6), "segments for its size"),
    "a million segments": (lambda: jpeg_segments(10**6), "segments for its size"),
}


@pytest.mark.parametrize("kind", LONG)
def test_images_that_take_long_are_not_decoded(kind):
    make, words = LONG[kind]
    data, start = make(), time.perf_counter()
    with pytest.raises(ImageError, match=f"^scan is made to take long to decode: .*more than .*{words}"):
        limits.check(data, "scan")
    assert time.perf_counter() - start < 1


def test_what_encoders_write_is_read():
    assert limits.check(saved_jpeg()) == 400
    assert limits.check(many_scans(30)) == 40_000
    assert limits.check(png_chunks(500)) == 81
    thumbnails = saved_jpeg()[:2] + b"\xff\xe1\xff\xff" + b"\xff\xda" * 32766 + b"\0" + saved_jpeg()[2:]
    assert limits.check(thumbnails) == 400  # scans within a segment are none of the image


def test_a_server_refuses_such_images(server, files):
    refused(server.post(PREDICT, rows(files[0], many_scans(60))), 400, "image 1 is made to take long")
    answers_on(server, files)


def test_all_pixels_of_a_request_are_counted_before_any_is_decoded(server, files):
    large = flat(5000)
    start = time.perf_counter()
    refused(
        server.post(PREDICT, rows(*[large] * 64)), 400, "250,000,000 pixels at most: send fewer at a time"
    )
    assert time.perf_counter() - start < 5
    with channel(server) as opened, pytest.raises(grpc.RpcError, match="275,000,000 in the first 11"):
        v2_grpc.GRPCInferenceServiceStub(opened).ModelInfer(v2_request([large] * 11), timeout=WAIT)
    answers_on(server, files)


def test_the_client_parts_what_a_server_would_refuse():
    parts = list(_batches([b"x"] * 24, [25_000_000] * 24))
    assert list(map(len, parts)) == [10, 10, 4]


JSON = {
    "lists": b"[],",
    "lists of one": b"[1.5],",
    "dicts": b"{},",
    "dicts of one": b'{"":1},',
    "one dict": b'"%d":1,',
    "words": b'"ab",',
    "wide words": '"\U0001f600",'.encode(),
}


@pytest.mark.parametrize("kind", JSON)
def test_what_json_takes_is_foreseen(kind):
    count = 50_000
    parts = b"".join(JSON[kind] % n if b"%" in JSON[kind] else JSON[kind] for n in range(count))
    body = b"{" + parts[:-1] + b"}" if kind == "one dict" else b"[" + parts[:-1] + b"]"
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        read = json.loads(body)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(read) == count
    assert taken < 1.2 * limits.parsed(body)


def test_json_that_takes_gigabytes_is_not_read(server, files):
    body = b'{"instances": [' + b"[]," * (6 * 10**6) + b"[]]}"
    start = time.perf_counter()
    refused(server.post(PREDICT, body), 413, "536,870,912 bytes of memory at most")
    v2 = b'{"inputs": [{"name": "images", "shape": [1], "datatype": "FP32", "data": [' + body[15:-1] + b"}]}"
    refused(server.post("/v2/models/cnn/infer", v2), 413, "bytes of memory at most")
    assert time.perf_counter() - start < 10
    answers_on(server, files)


def test_the_largest_request_of_prepared_images_has_room():
    # 64 images of 224 x 224 pixels, a list each pixel, in as many digits as a body has room for.
    row = b"[" + b"[0.12]," * 223 + b"[0.12]]"
    image = b"[" + (row + b",") * 223 + row + b"]"
    body = b'{"instances": [' + (image + b",") * 63 + image + b"]}"
    assert len(body) < limits.MAX_REQUEST and limits.parsed(body) < limits.MAX_PARSED


def test_binary_data_is_no_json():
    held = []
    content = b'{"inputs": []}' + b"[" * 10**7
    headers = {b"inference-header-content-length": b"14"}
    holding.hold_json(content, headers, held.append)
    assert held[0] < 10**4
    for length in (b"13", b"2"):  # no JSON of its own, so that some route reads on
        holding.hold_json(b"[" * 1000, {b"inference-header-content-length": length}, held.append)
        assert held[-1] > 72_000
    with pytest.raises(holding.RefusedError, match="takes 536,870,912 bytes of memory at most"):
        holding.hold_json(content, {}, held.append)


def field(number, content=b""):
    length, prefix = len(content), b""
    while length > 127:
        prefix, length = prefix + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + prefix + bytes([length]) + content


MESSAGES = {
    "empty tensors": (v2_pb2.ModelInferRequest, field(5) * 20_000),
    "empty contents": (v2_pb2.ModelInferRequest, field(7) * 20_000),
    "empty texts in a tensor": (v2_pb2.ModelInferRequest, field(5, field(5, field(8) * 20_000))),
    "whole numbers of a byte": (v2_pb2.ModelInferRequest, field(5, field(5, field(3, b"\1" * 12_000_000)))),
    "variants": (predict_pb2.PredictRequest, field(2, field(2, field(15) * 20_000))),
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_messages_that_take_far_more_than_they_weigh_are_not_read(kind):
    message, data = MESSAGES[kind]
    message.FromString(data)  # it is one
    with pytest.raises(RequestError, match=r"^A request has 10,000 fields, and takes 536,870,912 bytes"):
        holding.of_message(data, message.DESCRIPTOR)


def test_messages_of_images_are_read():
    bytes_ = v2_request([saved_jpeg()] * 64).SerializeToString()
    assert holding.of_message(bytes_, v2_pb2.ModelInferRequest.DESCRIPTOR) < 2 * len(bytes_) + 64 * 64 + 10**4
    prepared = v2_request(
        [0.5] * (64 * 224 * 224 * 3), tensor="images", datatype="FP32", shape=[64, 224, 224, 3]
    )
    size = holding.of_message(prepared.SerializeToString(), v2_pb2.ModelInferRequest.DESCRIPTOR)
    assert size < limits.MAX_PARSED
    assert (
        holding.of_message(b"\xff" * 99, v2_pb2.ModelInferRequest.DESCRIPTOR) >= 0
    )  # the parser says what is wrong


def test_a_server_refuses_such_messages(server, files):
    with channel(server) as opened:
        call = opened.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError, match="A request has 10,000 fields") as caught:
            call(field(5) * 10**6, timeout=WAIT)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    answers_on(server, files)


def test_what_all_requests_hold_is_bounded(monkeypatch):
    monkeypatch.setattr(limits, "MAX_HELD", 100)
    memory = holding.Memory()
    with memory.share() as first, memory.share() as second:
        first(60)
        second(40)
        with pytest.raises(holding.RefusedError, match="as many requests as it can") as caught:
            second(1)
        assert caught.value.status == 503
    with memory.share() as third:
        third(100)


def asked(messages, headers=None, hold=lambda count: None):
    """The body of a request that sends so and then nothing."""
    parts = iter(messages)

    async def receive():
        part = next(parts, None)
        if part is None:
            await asyncio.sleep(60)
        return part

    return asyncio.run(holding.body(receive, headers or {}, hold))


def part(data, more=True):
    return {"type": "http.request", "body": data, "more_body": more}


def test_a_body_that_does_not_arrive_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(limits, "MAX_SECONDS", 0.05)
    assert asked([part(b"ab"), part(b"c", False)]) == b"abc"
    assert asked([part(b"ab"), {"type": "http.disconnect"}]) is None
    with pytest.raises(holding.RefusedError, match=r"within 0.05 seconds") as caught:
        asked([part(b"ab")])
    assert caught.value.status == 408


def memory_of(process):
    with open(f"/proc/{process.pid}/statm") as pages:
        return int(pages.read().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_clients_that_send_a_part_and_wait_are_refused_once_they_hold_too_much(server, files):
    before, most, answers = memory_of(server.process), 0, []
    with contextlib.ExitStack() as opened:
        lines = []
        for _ in range(20):
            line = opened.enter_context(socket.create_connection(("127.0.0.1", server.rest), timeout=WAIT))
            lines.append(line)
            with contextlib.suppress(ConnectionError):
                line.sendall(
                    b"POST /v1/models/cnn:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 62914560\r\n\r\n"
                )
                line.sendall(b"x" * (48 * 2**20))
        most = memory_of(server.process)
        for line in lines:
            line.settimeout(0.1)
            with contextlib.suppress(OSError):
                answers.append(line.recv(12))
    assert b"HTTP/1.1 503" in answers and most - before < limits.MAX_HELD + 2**27
    answers_on(server, files)


def test_a_request_has_a_time_in_which_it_is_answered(monkeypatch):
    monkeypatch.setattr(limits, "MAX_SECONDS", 0.05)
    model = types.SimpleNamespace(_pool=None, served=None)
    with pytest.raises(holding.RefusedError, match=r"too busy to answer within 0.05 seconds") as caught:
        asyncio.run(Model.respond(model, lambda *_: time.sleep(0.3), None))
    assert caught.value.status == 503


def test_escape_codes_in_names_stay_out_of_the_log(server):
    name = "\x1b[31mred\x1b[2J\r\n2026-01-01 forged"
    with channel(server) as opened:
        stub = v2_grpc.GRPCInferenceServiceStub(opened)
        calls = [
            (stub.ModelInfer, v2_request([b"x"], name=name)),
            (stub.ModelReady, v2_pb2.ModelReadyRequest(name=name)),
            (stub.ModelMetadata, v2_pb2.ModelMetadataRequest(name=name)),
            (stub.RepositoryModelUnload, v2_pb2.RepositoryModelUnloadRequest(model_name=name)),
        ]
        for call, request in calls:
            with pytest.raises(grpc.RpcError) as caught:
                call(request, timeout=WAIT)
            assert "\x1b" not in caught.value.details()
    server.post("/v1/models/%1b%5b31mred:predict", b"{}")
    log = server.log.read_text()
    assert "\\x1b[31mred" in log and not re.search(r"[\x00-\x09\x0b-\x1f\x7f]|^2026-01-01 forged", log, re.M)
