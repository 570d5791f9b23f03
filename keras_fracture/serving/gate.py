"""In front of KServe's HTTP routes: what they do not know, and what should not reach them."""

import asyncio
import re
import zlib

from kserve.errors import ModelNotFound
from prometheus_client import exposition

from keras_fracture.serving import counting, holding, limits, refusing

_VERSIONED = re.compile(
    r"(?P<before>/v[12]/models/(?P<name>[^/]+))/versions/(?P<version>[^/:]+)(?P<after>.*)"
)
_UNREAD = (408, 413, 503)  # answers to requests of which more may be on its way
_PACKED = ("gzip", "deflate")  # the `Content-Encoding` of bodies


class Gate:
    """Versions in paths, bodies that are packed or too large, and who may load models.

    Args:
        app: The ASGI application behind it.
        repository: Of the models.
        keeper: A `refusing.Keeper`.
        memory: The `holding.Memory` that requests are held in while they are answered.
    """

    def __init__(self, app, repository, keeper, memory):
        self._app, self._repository, self._keeper, self._memory = app, repository, keeper, memory

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def counted(message):
            if message["type"] == "http.response.start":
                counting.over_http(scope["path"], message["status"])
            await send(message)

        with self._memory.share() as hold:
            try:
                passed = self._check(scope)
                body = await _body(passed, receive, hold)
                self._check(scope)  # once more: while the body came, another version may have taken its place
            except refusing.RefusedError as refusal:
                unread = {"Connection": "close"} if refusal.status in _UNREAD else None
                return await refusing.response(refusal.status, refusal, unread)(scope, receive, counted)
            if body is None:
                return None
            whole = iter([{"type": "http.request", "body": body, "more_body": False}])

            async def again():
                return next(whole, None) or await receive()

            headers = [one for one in passed["headers"] if one[0] != b"content-encoding"]
            return await self._app({**passed, "headers": headers}, again, counted)

    def _check(self, scope):
        """The scope without a version in its path."""
        path, headers = scope["path"], dict(scope["headers"])
        if not path.isprintable():  # the routes overlook a line break at the end
            raise refusing.RefusedError(404, "Not Found")
        try:
            exposition.choose_encoder(headers.get(b"accept", b"").decode("latin-1"))
        except (TypeError, ValueError) as error:  # of `/metrics`, where it would be the server's mistake
            raise refusing.RefusedError(400, f"Accept cannot be read: {error}") from None
        if path.startswith("/v2/repository/models/"):
            self._keeper.check(headers.get(b"authorization", b"").decode("latin-1"))
        versioned = _VERSIONED.fullmatch(path)
        if not versioned:
            return scope
        try:
            self._repository.find(versioned["name"]).check(versioned["version"])
        except ModelNotFound as error:
            raise refusing.RefusedError(404, error) from None
        path = versioned["before"] + versioned["after"]
        return {**scope, "path": path, "raw_path": path.encode()}


async def _body(scope, receive, hold):
    """The body, unpacked, or None if the client is gone."""
    headers = dict(scope["headers"])
    packed = headers.get(b"content-encoding", b"").decode("latin-1").strip().lower()
    if packed not in ("", "identity", *_PACKED):
        raise refusing.RefusedError(
            415, f"Content-Encoding must be {' or '.join(_PACKED)}. Received: {packed}"
        )
    body = await holding.body(receive, headers, hold)
    if body and packed in _PACKED:
        body = await asyncio.to_thread(_unpacked, body)
        hold(len(body))
    if body:
        holding.hold_json(body, headers, hold)
    return body


def _unpacked(body):
    stream = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, as it says at its start
    try:
        whole = stream.decompress(body, limits.MAX_REQUEST + 1)
    except zlib.error as error:
        raise refusing.RefusedError(400, f"The body cannot be unpacked: {error}") from None
    holding.bounded(len(whole))
    if not stream.eof or stream.unused_data:
        raise refusing.RefusedError(400, "The body cannot be unpacked: it does not end where it says")
    return whole
