"""How the server refuses: a status and one short line, alike over HTTP and gRPC, whatever the request held."""

import hmac

import grpc
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from google.protobuf.message import DecodeError
from grpc_interceptor.exceptions import PermissionDenied
from kserve.errors import InvalidInput, ModelNotFound, ServerNotReady
from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor
from starlette.exceptions import HTTPException

from keras_fracture.errors import RequestError, ServerError, printable
from keras_fracture.serving import counting, holding
from keras_fracture.serving.holding import RefusedError

# Requests are quoted in refusals, and may hold anything. gRPC clients refuse a reason of more than 16 KB.
_LONGEST = 250
_SHORTEST = 16  # characters of a token


class Keeper:
    """Who may load and unload models: those who know a token. Web pages can send plain requests to this machine too.

    Args:
        token: It, or None: nobody.

    Raises:
        ServerError: It is too short.
    """

    _REASON = "Loading and unloading models needs `Authorization: Bearer TOKEN`, with the token that `serve` was given"

    def __init__(self, token):
        if token is not None and len(token) < _SHORTEST:
            raise ServerError(f"A token has {_SHORTEST} characters at least. Received: {len(token)}")
        self._wanted = token and f"Bearer {token}".encode()

    def check(self, given):
        """Refuses an HTTP request by its `Authorization`.

        Raises:
            RefusedError: It does not hold the token.
        """
        if not self._wanted or not hmac.compare_digest(self._wanted, given.encode()):
            raise RefusedError(403, self._REASON)

    def check_call(self, context):
        """The same of a gRPC call, by its metadata.

        Raises:
            PermissionDenied: It does not hold the token.
        """
        try:
            self.check(str(dict(context.invocation_metadata() or ()).get("authorization", "")))
        except RefusedError as refusal:
            raise PermissionDenied(str(refusal)) from None


def line(reason):
    """A reason as one line that is not too long and can be printed."""
    words = printable(" ".join(str(reason)[: 4 * _LONGEST].split()))
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."


def response(status, reason, headers=None):
    """A refusal over HTTP."""
    return JSONResponse(status_code=status, content={"error": line(reason)}, headers=headers)


def malformed(error):
    """What pydantic found wrong first."""
    first = error.errors()[0]
    return f"The request cannot be read: {first['msg']} at {'.'.join(map(str, first['loc']))}"


def add_handlers(app):
    """Lets a FastAPI app refuse so; KServe's handlers repeat all they were given, and FastAPI's have another form."""

    def handle(kind, status, reason=str):
        async def handler(_, error):
            return response(status, reason(error))

        app.add_exception_handler(kind, handler)

    async def routed(_, error):
        return response(error.status_code, error.detail, error.headers)

    handle(InvalidInput, 400)
    handle(ModelNotFound, 404)
    handle(RefusedError, 503)
    handle(RequestValidationError, 400, malformed)
    handle(ServerNotReady, 503)
    handle(Exception, 500, lambda _: "Internal server error")  # whose reason may name files
    # KServe has routes for what this server has not: explaining, for one.
    handle(NotImplementedError, 404, lambda _: "Not Found")
    app.add_exception_handler(HTTPException, routed)


class Interceptor(ExceptionToStatusInterceptor):
    """KServe's, which knows nothing of messages that cannot be parsed and fails at methods that are not there.

    Args:
        memory: The `holding.Memory` that a message is held in while it is answered.
    """

    def __init__(self, memory):
        super().__init__()
        self._memory = memory

    async def intercept_service(self, continuation, handler_call_details):
        handler = await super().intercept_service(continuation, handler_call_details)
        parse = handler and handler.request_deserializer
        if not parse:
            return handler

        def parsed(data):
            try:
                size = holding.of_message(data, parse.__self__.DESCRIPTOR)
                return size, parse(data)
            except (DecodeError, RequestError) as error:
                return 0, error  # raised here, it would be the server's mistake: UNKNOWN

        return handler._replace(request_deserializer=parsed)

    async def intercept(self, method, request_or_iterator, context, method_name):
        size, request = request_or_iterator
        try:
            if isinstance(request, Exception):
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, line(request))
            with self._memory.share() as hold:
                try:
                    hold(size)
                except RefusedError as error:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, line(error))
                return await super().intercept(method, request, context, method_name)
        finally:
            code = context.code()
            counting.over_grpc(method_name, code.name if code else "OK")

    async def handle_exception(self, ex, request_or_iterator, context, method_name):
        if isinstance(ex, NotImplementedError):
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, line(ex))
        if isinstance(ex, RefusedError):
            await context.abort(grpc.StatusCode.UNAVAILABLE, line(ex))
        if isinstance(ex, InvalidInput | ModelNotFound):
            ex.reason = line(ex.reason)
        await super().handle_exception(ex, request_or_iterator, context, method_name)


def one_line(record):
    """A filter of KServe's log, which shows tracebacks of clients' mistakes, and raw what they sent: a line will do."""
    error = record.exc_info and record.exc_info[1]
    if isinstance(error, InvalidInput | ModelNotFound):
        record.msg, record.args, record.exc_info = f"refused: {line(error)}", (), None
    else:
        record.msg, record.args = printable(record.getMessage()), ()
    return True
