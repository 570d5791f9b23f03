"""What requests take of memory and time before they are answered, held against `limits`."""

import asyncio
import contextlib
from typing import NamedTuple

import orjson

from keras_fracture.errors import RequestError
from keras_fracture.serving import limits

_VARINT, _LONG, _DELIMITED, _SHORT = 0, 1, 2, 5  # kinds of fields on the wire
_FLOATS = {1, 2}  # types of a field: double, float
_WORDS = {9, 12}  # string, bytes


class RefusedError(Exception):
    """A request over HTTP that is refused before it reaches a route, or for want of room and time.

    Args:
        status: Of the answer.
        reason: One line.
    """

    def __init__(self, status, reason):
        super().__init__(str(reason))
        self.status = status


class Memory:
    """The bytes that all requests hold together."""

    def __init__(self):
        self._held = 0

    @contextlib.contextmanager
    def share(self):
        """A function that adds bytes to what one request holds, while the body runs.

        It raises `RefusedError` if all of them would hold more than `limits.MAX_HELD`.
        """
        own = 0

        def hold(count):
            nonlocal own
            if self._held + count > limits.MAX_HELD:
                raise RefusedError(503, "The server holds as many requests as it can: try again in a moment")
            own += count
            self._held += count

        try:
            yield hold
        finally:
            self._held -= own


async def body(receive, headers, hold):
    """The whole body of an HTTP request.

    Args:
        receive: ASGI's.
        headers: Name to value, bytes.
        hold: Of `Memory.share`.

    Returns:
        bytes; None if the client has gone.

    Raises:
        RefusedError: It is too large, there is no room for it, or it does not arrive in time.
    """
    try:
        async with asyncio.timeout(limits.MAX_SECONDS):
            return await _received(receive, int(headers.get(b"content-length", 0)), hold)
    except TimeoutError:
        raise RefusedError(408, f"A request must arrive within {limits.MAX_SECONDS} seconds") from None


async def _received(receive, announced, hold):
    parts, received, more = [], 0, True
    bounded(announced)
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        hold(len(parts[-1]))
        received += len(parts[-1])
        bounded(received)
        more = message.get("more_body", False)
    return b"".join(parts)


def bounded(size):
    """Refuses a body of more than `limits.MAX_REQUEST` bytes, as it came or unpacked."""
    if size > limits.MAX_REQUEST:
        raise RefusedError(
            413, f"A request has {limits.MAX_REQUEST:,} bytes at most. Received: {size:,} or more"
        )


def hold_json(content, headers, hold):
    """Holds what the JSON of a body takes once it is read; of binary V2 it is the beginning alone, if that is whole.

    Raises:
        RefusedError: That is more than `limits.MAX_PARSED`, or there is no room for it.
    """
    length = headers.get(b"inference-header-content-length", b"")
    head = content[: int(length)] if length.isdigit() else content
    size = limits.parsed(head)
    if size <= limits.MAX_PARSED and len(head) < len(content) and not _is_json(head):
        size = limits.parsed(content)  # which other routes, and other types of content, read as a whole
    if size > limits.MAX_PARSED:
        raise RefusedError(
            413,
            f"The JSON of a request takes {limits.MAX_PARSED:,} bytes of memory at most: send fewer images, or binary "
            f"data. Received: about {size:,}",
        )
    hold(size)


def _is_json(head):
    """Whether bytes are one value: behind it every parser stops."""
    try:
        orjson.loads(head)
    except orjson.JSONDecodeError:
        return False
    return True


class _Field(NamedTuple):
    """A field on the wire: its number, its kind, and where it begins and ends."""

    number: int
    kind: int
    start: int
    stop: int


def of_message(data, descriptor):
    """About how many bytes a protobuf message takes once it is read.

    Args:
        data: The message as it came.
        descriptor: Its type's.

    Raises:
        RequestError: It has more than `limits.MAX_FIELDS` fields, or takes more than `limits.MAX_PARSED` bytes.
    """
    size = fields = 0
    inner = [(descriptor, 0, len(data))]
    while inner:
        kind, start, stop = inner.pop()
        for field in _fields(data, start, stop):
            fields += 1
            known = kind.fields_by_number.get(field.number)
            length = field.stop - field.start
            if known is None or field.kind != _DELIMITED or known.type in _WORDS:
                size += 64 + length
            elif known.message_type:
                size += 128
                inner.append((known.message_type, field.start, field.stop))
            else:  # numbers, of which KServe makes a list; whole ones may have a byte each
                size += length * (12 if known.type in _FLOATS else 48)
            if fields > limits.MAX_FIELDS or size > limits.MAX_PARSED:
                raise RequestError(
                    f"A request has {limits.MAX_FIELDS:,} fields, and takes {limits.MAX_PARSED:,} bytes of memory at "
                    f"most: send fewer images, or raw contents. Received: {len(data):,} bytes that take more"
                )
    return size


def _fields(data, place, stop):
    """The fields of a message; where it is damaged they end, as the parser's do."""
    while place < stop:
        key, place = _number(data, place)
        kind, length = key & 7, 0
        if kind == _VARINT:
            length = _number(data, place)[1] - place
        elif kind == _DELIMITED:
            length, place = _number(data, place)
        elif kind in (_LONG, _SHORT):
            length = 8 if kind == _LONG else 4
        if place + length > stop:
            return
        yield _Field(key >> 3, kind, place, place + length)
        place += length


def _number(data, place):
    """A number of seven bits a byte, and the place behind it."""
    number = shift = 0
    for byte in data[place : place + 10]:
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            break
    return number, place
