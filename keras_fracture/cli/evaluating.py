"""How good a trained classifier is on a data set."""

from keras_fracture import progress
from keras_fracture.cli import verbs


def add_evaluate(commands):
    """Adds `evaluate`."""
    verb = verbs.add(
        commands, "evaluate", evaluate, "ask a classifier about a data set's images, and score its answers",
        "keras-fracture evaluate saved_models/resnet18_fracatlas --data fracatlas --out predictions.csv --jobs 4",
    )  # fmt: skip
    verb.add_argument("model", help="SavedModel or run folder")
    verb.add_argument(
        "--data",
        metavar="NAME",
        help="data set, or the path of your own X-rays (default: phantom)",
    )
    verbs.own_data(verb)
    verb.add_argument(
        "--against", metavar="NAME", help="the data set that the model was trained on, where that is another: images "
        "of --data that are its training images, or nearly, count as seen"
    )  # fmt: skip
    verb.add_argument("--split", default="test", help="train, validation or test (default)")
    verb.add_argument("--policy", default="grouped", help="split policy (default: grouped)")
    verbs.splits(verb)
    verb.add_argument("--which", metavar="NAME", help="of a run with several models, as in `export`")
    verb.add_argument(
        "--stress", action="store_true", help="also the AUC with the finding hidden, with as much hidden elsewhere, of "
        "the border alone, of images without detail, and others: does it look at the finding?"
    )  # fmt: skip
    verb.add_argument(
        "--explanations", action="store_true", help="also how often Grad-CAM, Grad-CAM++ and occlusion lie on the box "
        "of a finding, against chance"
    )  # fmt: skip
    verb.add_argument("--out", metavar="FILE", help="csv file for the answers, a row an image; with --stress or "
                      "--explanations a folder for what they find")  # fmt: skip
    verbs.parallel(verb)
    verb.add_argument(
        "--resume", action="store_true", help="go on with the answers that the same command left beside --out"
    )
    verbs.data_dir(verb)


def evaluate(options):
    """`evaluate`."""
    _check(options)
    verbs.import_tensorflow()
    from keras_fracture import data, files
    from keras_fracture.data import catalogue
    from keras_fracture.inference import scoring

    again = options.stress or options.explanations
    scoring.find(options.model, options.which)  # before minutes of work, as the next
    if again and options.out:
        files.folder(options.out)
    options.data = options.data or catalogue.EMBEDDED
    records = data.load(
        options.data, options.split, options.policy, splits=options.splits, data_dir=options.data_dir,
        **verbs.reading(options),
    )  # fmt: skip
    if options.explanations:
        _check_boxes(options, records)
    parts = None if again else verbs.parts(options.out, options.resume)
    with verbs.workers(options) as workers:
        table = scoring.evaluate(options.model, records, options.which, workers=workers, parts=parts)
    if options.out and not again:
        progress.say(f"wrote {len(table):,} rows to {files.write_text(options.out, scoring.text(table))}")
        parts.unlink(missing_ok=True)
    threshold = scoring.threshold(options.model, options.which)
    if line := catalogue.synthetic_among(options.data, table["filename"], **verbs.reading(options)):
        print(line)
    by_study = options.policy == "studies" or bool(
        options.splits and scoring.are_studies(options.data, table, options.data_dir)
    )
    seen = _seen(options, table, by_study)
    unit = "studies" if by_study else "X-rays or patients"
    _print_scores(table, threshold, "images", unit)
    if seen is not None and seen.all():
        print("no image is left that it has not seen")
        return
    if seen is not None and seen.any():
        table = table[~seen]
        _print_scores(table, threshold, "images that it has not seen", unit)
    _print_elsewhere(options, table, records)
    if options.split == "test":
        _print_baselines(options, table, threshold)
    if options.stress:
        _stress(options, table, records)
    if options.explanations:
        _explanations(options, table, records)


def _check(options):
    """What is wrong before anything is read."""
    from keras_fracture.errors import ModelError

    if options.against and not options.data:
        raise ModelError(
            f"--against says what a model has seen of --data: name both. Received: {options.against!r} without one"
        )
    if options.resume and (not options.out or options.stress or options.explanations):
        raise ModelError("--resume goes on with the answers beside --out FILE. Received: --resume without it")


def _check_boxes(options, records):
    """Whether there is what `--explanations` compares heat maps with, before any model runs."""
    from keras_fracture.data import catalogue
    from keras_fracture.errors import EvaluationError
    from keras_fracture.inference import explaining

    where = f"{catalogue.title(options.data)}'s {options.split} split"
    if missing := explaining.missing_boxes(records.table, where):
        raise EvaluationError(
            f"--explanations compares heat maps with boxes of findings: {missing}. Received: {options.data}"
        )


def _seen(options, table, by_study):
    """Which images the model has seen, None where that is not known; and says so.

    Args:
        options: Of the command line.
        table: Of `scoring.evaluate`.
        by_study: Whether another image of the same study counts, too.
    """
    from keras_fracture.inference import elsewhere, scoring

    seen = scoring.seen(options.model, options.data, table, options.which)
    if seen is not None and by_study:
        seen |= scoring.seen_views(options.model, options.data, table, options.which, options.data_dir)
    if seen is None:
        print(
            "whether the model has seen these images cannot be told: it does not say what it was trained on, or "
            "patients of DICOM files were hashed with another salt"
        )
        return None
    if not options.against and not seen.any() and _none_known(options):
        print(
            "whether the model has seen these images cannot be told: it was trained on X-rays of this name, of which "
            "none is here; it was another folder, or patients were told otherwise (--patient, --columns)"
        )
        return None
    if options.against:
        seen |= elsewhere.copies(
            options.model, options.against, options.data, table, options.which, options.data_dir,
            **verbs.reading(options),
        )  # fmt: skip
    if seen.any():
        print(
            f"{seen.sum():,} of {len(table):,} images show X-rays that the model was trained or tuned on: "
            "the scores of all images are not those of a test"
        )
    elif options.against:
        print(
            f"0 of {len(table):,} images show X-rays of {options.against} that the model was trained or tuned on"
        )
    return seen


def _print_baselines(options, table, threshold):
    from keras_fracture import evaluation
    from keras_fracture.errors import EvaluationError
    from keras_fracture.evaluation import baselines as measured
    from keras_fracture.inference import scoring
    from keras_fracture.report import baselines
    from keras_fracture.report.markdown import decimal

    try:
        predictions = scoring.predictions(table, threshold)
        if inside := evaluation.within(predictions, table["body_part"]):
            print(f"{'AUC within body parts':<33}{decimal(inside)}")
        fitted = measured.of_data(
            options.data, options.policy, data_dir=options.data_dir, split_file=options.splits,
            threshold=scoring.fixed_threshold(options.model, options.which), **verbs.reading(options),
        )  # fmt: skip
        some = fitted.take(table.index.to_numpy())  # those that the model has not seen
        compared = measured.compare(predictions, some)
    except EvaluationError as error:
        print(f"no baselines: {error}")
    else:
        for line in baselines.beside(compared, options.data):
            print(line)


def _stress(options, table, records):
    from keras_fracture.inference import stress
    from keras_fracture.report import stress as report

    result = stress.examine(options.model, records, table, options.which)
    print("\n".join(report.lines(result)))
    if options.out:
        progress.say(f"wrote {report.write(options.out, result, _facts(options))}/stress.json")


def _explanations(options, table, records):
    from keras_fracture.inference import explaining
    from keras_fracture.report import explanations as report

    result = explaining.measure(options.model, records, table, options.which)
    print("\n".join(report.lines(result)))
    if options.out:
        progress.say(f"wrote {report.write(options.out, result, _facts(options))}/explanations.json")


def _facts(options):
    from pathlib import Path

    from keras_fracture.data import catalogue
    from keras_fracture.experiment.runs import provenance

    return {
        "model": options.which or Path(options.model).resolve().name,
        "data": catalogue.title(options.data),
        "split": options.split,
        "split_policy": "file" if options.splits else options.policy,
    } | provenance()


def _none_known(options):
    """Whether own X-rays have the name of those that the model was trained on, but none of them."""
    from keras_fracture.data import catalogue
    from keras_fracture.inference import scoring

    if options.data in catalogue.NAMES:
        return False
    name = catalogue.title(options.data)
    said = [one for one in scoring.trained_on(options.model, options.which) if one.data == name]
    layout, _ = catalogue.find(options.data, options.data_dir, **verbs.reading(options))
    return bool(said) and not scoring.among(said, name, layout.read()).any()


def _print_elsewhere(options, table, records):
    from keras_fracture.errors import EvaluationError
    from keras_fracture.inference import elsewhere

    try:
        report = elsewhere.examine(options.model, options.data, table, records, options.which)
    except EvaluationError as error:  # of images that are left, too
        print(f"no comparison with the data set that it was trained on: {error}")
    else:
        for line in elsewhere.lines(report):
            print(line)


def _print_scores(table, threshold, what, unit):
    from keras_fracture.errors import EvaluationError
    from keras_fracture.inference import scoring
    from keras_fracture.report.markdown import decimal

    print(f"{len(table):,} {what}, of {table['source'].nunique():,} {unit}, threshold {threshold:.3g}")
    try:
        scores = scoring.scores(table, threshold)
    except EvaluationError as error:
        if what == "images":
            raise
        print(f"no scores: {error}")  # of what is left, which says so
    else:
        for name, score in scores.items():
            print(f"{name:<33}{decimal(score)}")
