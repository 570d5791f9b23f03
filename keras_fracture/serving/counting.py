"""What `/metrics` counts beside KServe's times: every request, and how it ended."""

from prometheus_client import Counter

_REQUESTS = Counter(
    "keras_fracture_requests", "Requests by protocol, method and status", ("protocol", "method", "code")
)
_ACTIONS = ("predict", "infer", "load", "unload", "ready", "metadata", "metrics")


def over_http(path, status):
    """Counts an HTTP request under the last word of its path, if that is one of the server's own."""
    action = path.replace(":", "/").rpartition("/")[2]
    _REQUESTS.labels("http", action if action in _ACTIONS else "other", status).inc()


def over_grpc(method, code):
    """Counts a call of a gRPC method, `/package.Service/Method`, under the name of its status."""
    _REQUESTS.labels("grpc", method, code).inc()
