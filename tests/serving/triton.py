"""NVIDIA's clients against a server, in a process of their own: they register messages that KServe's have too.

Reads JSON: the ports, `files` in hex, `windows`, `prepared` images. Prints, by protocol, what each call returned.
"""

import json
import sys

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

DATATYPES = {"object": "BYTES", "float32": "FP32", "int32": "INT32"}


class Asking:
    """One protocol's client.

    Args:
        module: `tritonclient.http` or `tritonclient.grpc`.
        port: Of the server on this machine.
    """

    def __init__(self, module, port):
        self._module, self.client = module, module.InferenceServerClient(f"127.0.0.1:{port}")

    def infer(self, model, output, given, binary=True, **options):
        """One output, of inputs by name, as a list."""
        how = {"binary_data": binary} if self._module is tritonclient.http else {}
        inputs = []
        for key, value in given.items():
            inputs.append(self._module.InferInput(key, value.shape, DATATYPES[value.dtype.name]))
            inputs[-1].set_data_from_numpy(value, **how)
        outputs = [self._module.InferRequestedOutput(output, **how)]
        made = self.client.infer(model, inputs, outputs=outputs, **options).as_numpy(output)
        return [each.hex() for each in made] if made.dtype == object else made.tolist()


def asked(asking, given):
    """What both protocols return."""
    files = {"bytes": np.array([bytes.fromhex(each) for each in given["files"]], object)}
    prepared = {"images": np.array(given["prepared"], "float32")}
    rows = {"seed": [5, 5], "number": [0, 1], "label": [1, 1]}
    windows = {"windows": np.array(given["windows"], "int32")}
    damaged = {"bytes": np.array([files["bytes"][0][:99]], object)}
    client = asking.client
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "models": [client.is_model_ready("cnn", version) for version in ("", "2", "7")],
        "metadata": names_of(client.get_model_metadata("cnn", "2")),
        "bytes": asking.infer("cnn", "probabilities", files),
        "version": asking.infer("cnn", "probabilities", files, model_version="2"),
        "numbers": asking.infer("cnn", "probabilities", prepared),
        "drawn": asking.infer("gan", "images", {key: np.array(row, "int32") for key, row in rows.items()}),
        "painted": asking.infer("unit", "images_bytes", files | windows),
        "damaged": refused(lambda: asking.infer("cnn", "probabilities", damaged)),
        "another version": refused(lambda: asking.infer("cnn", "probabilities", files, model_version="7")),
        "unload": refused(lambda: client.unload_model("cnn")),
    } | packed(asking, files, prepared)


def packed(asking, files, prepared):
    """The same bytes in packed requests, and over HTTP numbers as JSON."""

    def infer(**options):
        return asking.infer("cnn", "probabilities", files, **options)

    if isinstance(asking.client, tritonclient.grpc.InferenceServerClient):
        return {
            "gzip": infer(compression_algorithm="gzip"),
            "deflate": infer(compression_algorithm="deflate"),
        }
    return {
        kind: infer(request_compression_algorithm=kind, response_compression_algorithm=kind)
        for kind in ("gzip", "deflate")
    } | {"json": asking.infer("cnn", "probabilities", prepared, binary=False)}


def names_of(known):
    """Versions, names of inputs and names of outputs that a model's metadata tell."""
    if isinstance(known, dict):
        return [
            known["versions"],
            *([each["name"] for each in known[side]] for side in ("inputs", "outputs")),
        ]
    return [list(known.versions), *([each.name for each in side] for side in (known.inputs, known.outputs))]


def refused(call):
    """The reason, or None where it was answered."""
    try:
        call()
    except InferenceServerException as error:
        return error.message()
    return None


if __name__ == "__main__":
    read = json.load(sys.stdin)
    modules = {"http": tritonclient.http, "grpc": tritonclient.grpc}
    print(json.dumps({name: asked(Asking(module, read[name]), read) for name, module in modules.items()}))
