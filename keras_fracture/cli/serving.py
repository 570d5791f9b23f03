"""Trained models at work: predict and serve."""

from pathlib import Path

from keras_fracture.cli import verbs


def add_predict(commands):
    """Adds `predict`."""
    verb = verbs.add(
        commands, "predict", predict, "probabilities of a finding for images, from a SavedModel or a server",
        "keras-fracture predict --model saved_models/compact_cnn hand.jpg --csv hand.csv --overlays hand",
    )  # fmt: skip
    verb.add_argument("images", nargs="+", help="JPEG, PNG or DICOM files (DICOM: the extra `dicom`)")
    verb.add_argument(
        "--model", help="SavedModel folder written by this package; with --server a model's name"
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
    verb.add_argument("folder", help="of models (NAME/NUMBER), or one model's")
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
    from keras_fracture.serving import limits

    if not (options.server or options.model):
        raise ModelError("Name a SavedModel folder by --model, or a server by --server. Received: neither")
    if options.overlays and options.server and options.finding is None:
        raise ModelError(
            "A server does not say which of its classes is the finding: name its number, counted from 0, by --finding. "
            "Received: --overlays without it"
        )
    contents = [limits.read(path) for path in options.images]
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
    answers = classifier.predict(contents, options.images)
    limits.warn_of_inverted(contents, classifier.inverts)
    table = _table(options.images, answers, classifier.classes)
    print(table.to_string(index=False, float_format="{:.6f}".format))
    if options.csv:
        from keras_fracture import files

        print(f"wrote {files.write_text(options.csv, table.to_csv(index=False))}")
    if options.overlays:
        _overlay(classifier, options.images, contents, options.overlays, finding)
    classifier.close()


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


def _overlay(classifier, names, contents, folder, finding):
    from keras_fracture import files
    from keras_fracture.data import decoding
    from keras_fracture.inference.heat import occlusion
    from keras_fracture.report.figures import heated

    folder = files.folder(folder)
    for number, (name, data) in enumerate(zip(names, contents, strict=True)):
        image, heat = occlusion(classifier.predict, data, finding)
        marks = {"source": Path(name).name, "heat": "occlusion", "not_for_clinical_use": "true"}
        path = folder / f"{number:04d}-{Path(name).stem}.png"
        with files.writing(path) as beside:
            beside.write_bytes(decoding.encode_png(heated(image[None], heat[None])[0], marks))
    print(f"wrote {len(names)} overlays to {folder}")


def serve(options):
    """`serve`."""
    if options.write_config:
        from keras_fracture import files
        from keras_fracture.serving import versions

        text = versions.model_config(options.folder)
        print(f"wrote {files.write_text(options.write_config, text)}")
        return
    verbs.import_tensorflow()
    try:
        from keras_fracture.serving.server import serve as start
    except ModuleNotFoundError as error:
        from keras_fracture.errors import ServerError

        raise ServerError(
            f"`serve` needs what `pip install keras-fracture[serving]` brings. Received: {error}"
        ) from None
    start(options.folder, options.host, options.rest_port, options.grpc_port)
