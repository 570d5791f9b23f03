"""Trained models at work: predict and serve."""

import os
from pathlib import Path

from keras_fracture import progress
from keras_fracture.cli import verbs

_AT_A_TIME = 32  # image files that `predict` holds


def add_predict(commands):
    """Adds `predict`."""
    verb = verbs.add(
        commands, "predict", predict, "probabilities of a finding for images, from a SavedModel or a server",
        "keras-fracture predict --model saved_models/compact_cnn hand.jpg --csv hand.csv --overlays hand",
    )  # fmt: skip
    verb.add_argument(
        "images", nargs="+", help="JPEG, PNG or DICOM files (DICOM: the extra `dicom`), or folders of them"
    )
    verb.add_argument(
        "--model",
        help="SavedModel folder written by this package, or a name of `models list`; with --server a "
        "model's name",
    )
    verb.add_argument(
        "--server",
        metavar="URL",
        help="http://HOST:PORT or grpc://HOST:PORT of TensorFlow Serving or `serve`",
    )
    verb.add_argument("--version", type=int, help="of the server's model (default: the highest)")
    verb.add_argument("--timeout", type=float, default=30, help="seconds a server may take (default 30)")
    verb.add_argument("--retries", type=int, default=3, help="of a request to a server (default 3)")
    verb.add_argument("--csv", metavar="FILE", help="also write the table here")
    verb.add_argument(
        "--overlays",
        metavar="DIR",
        help="also write each image here, coloured where it speaks for a finding",
    )
    verb.add_argument(
        "--finding",
        type=int,
        metavar="N",
        help="for --overlays: which probability, counted from 0, is the finding's; a SavedModel says it itself",
    )


def add_serve(commands):
    """Adds `serve`."""
    verb = verbs.add(
        commands, "serve", serve, "answer over HTTP and gRPC, with the models of a folder (needs kserve)",
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


def predict(options):
    """`predict`."""
    from keras_fracture.errors import ModelError

    if not (options.server or options.model):
        raise ModelError("Name a SavedModel folder by --model, or a server by --server. Received: neither")
    if options.overlays and options.server and options.finding is None:
        raise ModelError(
            "A server does not say which of its classes is the finding: name its number, counted from 0, by --finding. "
            "Received: --overlays without it"
        )
    paths = _images(options.images)
    if options.server:
        if options.server.startswith("grpc:"):
            verbs.import_tensorflow()  # its stubs do
        from keras_fracture.serving.client import connect

        how = options.version, options.timeout, options.retries
        classifier = connect(options.server, options.model, *how)
    else:
        verbs.import_tensorflow()
        from keras_fracture.inference.predicting import Classifier

        classifier = Classifier(options.model)
    if options.overlays:
        finding = _finding(options, classifier)
    table = _table(paths, _answers(classifier, paths), classifier.classes)
    print(table.to_string(index=False, float_format="{:.6f}".format))
    if options.csv:
        from keras_fracture import files
        from keras_fracture.data import tables

        progress.say(f"wrote {files.write_text(options.csv, tables.csv_text(table))}")
    if options.overlays:
        _overlay(classifier, paths, options.overlays, finding)
    classifier.close()


def _images(paths):
    """Paths of image files; in place of a folder those of all images below it."""
    from keras_fracture.data.own import folders
    from keras_fracture.errors import ImageError
    from keras_fracture.serving import limits

    found = []
    for path in paths:
        if not Path(path).is_dir():
            limits.exists(path)
            found.append(path)
            continue
        below = folders.Folder(path).images
        if not below:
            raise ImageError(f"{path} holds no images ({', '.join(folders.SUFFIXES)}): name another folder")
        found += [str(Path(path) / name) for name in below]
    return found


def _answers(classifier, paths):
    """Probabilities of all images, some files in memory at a time."""
    import numpy as np

    from keras_fracture.progress import Bar
    from keras_fracture.serving import limits

    answers, inverted = [], 0
    for start in Bar(
        range(0, len(paths), _AT_A_TIME), "predict", unit=" batches", shown=len(paths) > _AT_A_TIME
    ):
        some = paths[start : start + _AT_A_TIME]
        contents = [limits.read(path) for path in some]
        answers.append(classifier.predict(contents, some))
        inverted += limits.inverted(contents, classifier.inverts)
    limits.warn_of_inverted(inverted, len(paths))
    return np.concatenate(answers)


def _finding(options, classifier):
    """The number of the finding among the probabilities."""
    from keras_fracture.errors import ModelError
    from keras_fracture.serving.metadata import finding_of

    if options.server:
        return options.finding
    number = finding_of({"classes": classifier.classes, "finding": classifier.finding}, options.model)
    if options.finding not in (None, number):
        raise ModelError(
            f"{options.model} says itself that its finding is class {number}: leave out --finding. "
            f"Received: {options.finding}"
        )
    return number


def _table(names, answers, classes):
    import pandas as pd

    from keras_fracture.errors import ModelError

    columns = classes or [f"class {number}" for number in range(answers.shape[1])]
    if len(columns) != answers.shape[1]:
        raise ModelError(
            f"The model names {len(columns)} classes and gives {answers.shape[1]} probabilities: export it again. "
            f"Received: {', '.join(columns)}"
        )
    table = pd.DataFrame(answers, columns=columns)
    table.insert(0, "file", names)
    return table


def _overlay(classifier, names, folder, finding):
    from keras_fracture import files
    from keras_fracture.data import decoding
    from keras_fracture.inference.heat import occlusion
    from keras_fracture.progress import Bar
    from keras_fracture.report.figures import heated
    from keras_fracture.serving import limits

    folder = files.folder(folder)
    for number, name in enumerate(Bar(names, "overlays", unit=" images")):
        image, heat = occlusion(classifier.predict, limits.read(name), finding)
        marks = {"source": Path(name).name, "heat": "occlusion", "not_for_clinical_use": "true"}
        path = folder / f"{number:04d}-{Path(name).stem}.png"
        with files.writing(path) as beside:
            beside.write_bytes(decoding.encode_png(heated(image[None], heat[None])[0], marks))
    progress.say(f"wrote {len(names)} overlays to {folder}")


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
