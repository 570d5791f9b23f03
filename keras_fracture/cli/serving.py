"""Trained models as servers."""

import os

from keras_fracture import progress
from keras_fracture.cli import verbs


def add_serve(commands):
    """Adds `serve`."""
    verb = verbs.add(
        commands, "serve", serve, "answer over HTTP and gRPC, with the models of a folder (the extra `serving`)",
        "keras-fracture serve saved_models",
    )  # fmt: skip
    verb.add_argument(
        "folders",
        nargs="+",
        metavar="FOLDER",
        help="of models (NAME/NUMBER), or one model's; or a name of `models list`",
    )
    verb.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default: this machine alone)"
    )
    verb.add_argument("--rest-port", type=int, default=8501, help="default 8501")
    verb.add_argument("--grpc-port", type=int, default=8500, help="default 8500")
    verb.add_argument(
        "--write-config", metavar="FILE", help="instead write TensorFlow Serving's list of these models"
    )


def serve(options):
    """`serve`."""
    if options.write_config:
        from keras_fracture import files
        from keras_fracture.serving import versions

        text = versions.model_config(*options.folders)
        progress.say(f"wrote {files.write_text(options.write_config, text)}")
        return
    verbs.import_tensorflow()
    try:
        from keras_fracture.serving.server import serve as start
    except ModuleNotFoundError as error:
        from keras_fracture.errors import ServerError

        raise ServerError(
            f"`serve` needs what `pip install keras-fracture[serving]` brings. Received: {error}"
        ) from None
    token = os.environ.get("KERAS_FRACTURE_TOKEN")  # other users of a machine can read a command's arguments
    ports = {"rest_port": options.rest_port, "grpc_port": options.grpc_port}
    start(*options.folders, host=options.host, **ports, token=token)
