"""What a trained model says of image files: probability, threshold, verdict, and what speaks for a finding."""

import sys

from keras_fracture import progress
from keras_fracture.cli import verbs
from keras_fracture.errors import ModelError, printable

_AT_A_TIME = 32  # image files that `predict` holds
_EDGE = 1e-6  # nearer to 0 or 1 float32 probabilities of different logits may be equal
_EXPLANATIONS = ("gradcam", "occlusion")


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
    verb.add_argument("--version", type=int, help="of the model (default: the highest)")
    verb.add_argument("--timeout", type=float, default=30, help="seconds a server may take (default 30)")
    verb.add_argument("--retries", type=int, default=3, help="of a request to a server (default 3)")
    verb.add_argument("--csv", metavar="FILE", help="also write the table here")
    verb.add_argument(
        "--overlays",
        metavar="DIR",
        help="also write each image beside what in it speaks for a finding, a contact sheet and answers.html here",
    )
    verb.add_argument(
        "--explain",
        choices=_EXPLANATIONS,
        help="for --overlays: by the network's gradients (gradcam, default), or by greying parts out, which servers "
        "can be asked too (occlusion)",
    )
    verb.add_argument(
        "--threshold",
        type=float,
        help="probability from which on there is a finding (default: the model's own; of a server 0.5)",
    )
    verb.add_argument(
        "--finding",
        type=int,
        metavar="N",
        help="with --server: which probability, counted from 0, is the finding's; a SavedModel says it itself",
    )
    verbs.parallel(verb)
    verb.add_argument(
        "--resume", action="store_true", help="go on with the answers that the same command left beside --csv"
    )


def predict(options):
    """`predict`."""
    _check(options)
    if options.version is not None and not options.server:
        from keras_fracture.serving.versions import numbered

        options.model = str(numbered(options.model, options.version))
    paths = verbs.image_files(options.images)
    classifier = _classifier(options)
    paths, answers = _answers(options, classifier, paths)
    finding, threshold, words = _understood(options, classifier, answers.shape[1])
    table = _table(paths, answers, classifier.classes, finding, threshold)
    print(table.to_string(index=False, float_format="{:.4f}".format))
    print(f"{printable(words)}; not for clinical use", file=sys.stderr)
    _warn_of_one_answer(paths, answers)
    if options.csv:
        from keras_fracture import files
        from keras_fracture.data import tables

        progress.say(f"wrote {files.write_text(options.csv, tables.csv_text(table))}")
        verbs.parts(options.csv, resume=False)
    if options.overlays:
        from keras_fracture.report import answers as report

        explained = _explained(options, classifier, table, finding)
        method = options.explain or _EXPLANATIONS[bool(options.server)]
        written = report.write(options.overlays, table, explained, method, f"{_title(options)}: {words}")
        progress.say(f"wrote {len(table):,} overlays, contact-sheet.png and {written}")
    classifier.close()


def _check(options):
    """What is wrong before anything is read."""
    if not (options.server or options.model):
        raise ModelError("Name a SavedModel folder by --model, or a server by --server. Received: neither")
    if options.server and (options.jobs > 1 or options.cluster or options.resume):
        raise ModelError(
            "--jobs, --cluster and --resume go with --model. Received: one of them with --server"
        )
    if options.resume and not options.csv:
        raise ModelError("--resume goes on with the answers beside --csv FILE. Received: --resume without it")
    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise ModelError(f"--threshold must be from 0 to 1. Received: {options.threshold}")
    if options.explain and not options.overlays:
        raise ModelError(f"--explain goes with --overlays. Received: --explain {options.explain} alone")
    if options.explain == "gradcam" and options.server:
        raise ModelError(
            "Grad-CAM needs the network's gradients, which a server does not give: --explain occlusion. "
            "Received: gradcam with --server"
        )


def _classifier(options):
    """What is asked: a server's client, or a SavedModel."""
    if not options.server:
        verbs.import_tensorflow()
        from keras_fracture.inference import predicting

        return predicting.opened(options.model)
    if options.server.startswith("grpc:"):
        verbs.import_tensorflow()  # its stubs do
    from keras_fracture.serving.client import connect

    return connect(options.server, options.model, options.version, options.timeout, options.retries)


def _title(options):
    """What the model is called."""
    return options.model or options.server


def _answers(options, classifier, paths):
    """The paths, without those that workers skipped, and their probabilities."""
    import numpy as np

    from keras_fracture.serving import limits

    if not options.server:
        from keras_fracture.inference import predicting

        parts = verbs.parts(options.csv, options.resume)
        with verbs.workers(options) as workers:
            return predicting.answers(options.model, paths, workers, parts)
    answers, inverted = [], 0
    for start in progress.Bar(
        range(0, len(paths), _AT_A_TIME), "predict", unit=" batches", shown=len(paths) > _AT_A_TIME
    ):
        some = paths[start : start + _AT_A_TIME]
        contents = [limits.read(path) for path in some]
        answers.append(classifier.predict(contents, some))
        inverted += limits.inverted(contents, classifier.inverts)
    limits.warn_of_inverted(inverted, len(paths))
    return paths, np.concatenate(answers)


def _warn_of_one_answer(paths, answers):
    """Says so where images that differ have one answer, unless its digits end before these would be told apart."""
    import numpy as np

    from keras_fracture.data import decoding
    from keras_fracture.report.captions import SAME
    from keras_fracture.serving import limits

    told = ((answers > _EDGE) & (answers < 1 - _EDGE)).all()
    if len(answers) < 2 or np.ptp(answers, axis=0).any() or not told:
        return
    images = (decoding.decode(limits.read(path)).image for path in paths)
    first = next(images)
    if any(not np.array_equal(first, other) for other in images):
        print(SAME, file=sys.stderr)


def _understood(options, classifier, count):
    """Which of `count` probabilities is the finding's, None if that is not known; its threshold; both in words."""
    words = []
    try:
        finding = _finding(options, classifier, count)
    except ModelError as error:
        if options.overlays or options.finding is not None:
            raise
        return None, None, f"no verdict: {error}"
    if options.server and options.finding is None:
        words = ["the server's one probability is taken for the finding's"]
    if options.threshold is not None:
        return finding, options.threshold, "; ".join([*words, f"threshold {options.threshold:g} as given"])
    if classifier.threshold is None:
        return (
            finding,
            0.5,
            "; ".join([*words, "threshold 0.5, as servers do not tell their model's (--threshold)"]),
        )
    how = f"is the model's own, {classifier.chosen}" if classifier.chosen else "as the model names none"
    return finding, classifier.threshold, f"threshold {classifier.threshold:.4g} {how}"


def _finding(options, classifier, count):
    """The number of the finding among the probabilities; an error where it is not known."""
    from keras_fracture.serving.metadata import finding_of

    if options.server:
        number = 0 if options.finding is None and count == 1 else options.finding
        if number is None:
            raise ModelError(
                "A server does not say which of its classes is the finding: name its number, counted from 0, by "
                f"--finding. Received: {count} probabilities an image"
            )
        if not 0 <= number < count:
            raise ModelError(f"--finding is from 0 to {count - 1} here. Received: {number}")
        return number
    facts = {"classes": classifier.classes, "finding": classifier.finding}
    number = finding_of(facts, _title(options))
    if options.finding not in (None, number):
        raise ModelError(
            f"{options.model} says itself that its finding is class {number}: leave out --finding. "
            f"Received: {options.finding}"
        )
    return number


def _table(names, answers, classes, finding, threshold):
    """A row a file; the classes' own probabilities where they say more than one of them."""
    import pandas as pd

    from keras_fracture.serving.metadata import of_finding

    columns = classes or [f"class {number}" for number in range(answers.shape[1])]
    if len(columns) != answers.shape[1]:
        raise ModelError(
            f"The model names {len(columns)} classes and gives {answers.shape[1]} probabilities: export it again. "
            f"Received: {', '.join(columns)}"
        )
    parts = [pd.DataFrame({"file": names})]
    if finding is not None:
        exact = of_finding(answers, finding)
        what = columns[finding] if len(columns) > 2 else "finding"  # others may still be found
        verdict = [what if one >= threshold else f"no {what}" for one in exact]
        # Only near 1 does it take more digits than float32 has.
        probability = exact if exact.max(initial=0) > 0.999 else answers[:, finding]
        parts.append(
            pd.DataFrame({"probability": probability, "threshold": float(threshold), "verdict": verdict})
        )
    if finding is None or len(columns) > 2:
        parts.append(pd.DataFrame(answers, columns=columns))
    return pd.concat(parts, axis=1)


def _explained(options, classifier, table, finding):
    """Each image and what in it speaks for a finding, in the order of the table, one at a time."""
    from keras_fracture.inference import heat
    from keras_fracture.serving import limits

    if options.server or options.explain == "occlusion":

        def explain(data):
            return heat.occlusion_effect(classifier.predict, data, finding)
    else:
        from keras_fracture.serving.loading import load

        network = load(options.model)

        def explain(data):
            return heat.gradcam_effect(network, classifier, data, finding)

    for name in progress.Bar(table["file"], "explanations", unit=" images"):
        yield explain(limits.read(name))
