"""How good a trained classifier is on a data set, in parts if that takes long."""

from keras_fracture.cli import verbs


def add_evaluate(commands):
    """Adds `evaluate`."""
    verb = verbs.add(
        commands, "evaluate", evaluate, "ask a classifier about a data set's images, and score its answers",
        "keras-fracture evaluate saved_models/resnet18_fracatlas --data fracatlas --out predictions.csv",
    )  # fmt: skip
    verb.add_argument(
        "model", nargs="?", help="SavedModel or run folder; with --from only its threshold is taken"
    )
    verb.add_argument(
        "--data",
        default="phantom",
        metavar="NAME",
        help="data set, or the path of your own X-rays (default: phantom)",
    )
    verbs.own_data(verb)
    verb.add_argument("--split", default="test", help="train, validation or test (default)")
    verb.add_argument("--policy", default="grouped", help="split policy (default: grouped)")
    verb.add_argument("--which", metavar="NAME", help="of a run with several models, as in `export`")
    verb.add_argument("--out", metavar="FILE", help="csv file for the answers, a row an image")
    verb.add_argument("--shard", metavar="I/N", help="only the I-th of N parts of the images; scores nothing")
    verb.add_argument(
        "--from", dest="parts", nargs="+", metavar="FILE", help="score these answers instead, all parts in order"
    )  # fmt: skip
    verbs.data_dir(verb)


def evaluate(options):
    """`evaluate`."""
    from keras_fracture.errors import ModelError, ShardError
    from keras_fracture.inference import sharding

    shard = sharding.parse(options.shard)
    if not (options.model or options.parts):
        raise ModelError("Name a SavedModel or run folder, or csv files by --from. Received: neither")
    if shard and (options.parts or not options.out):
        raise ShardError(
            f"A shard's answers are written to --out and scored by --from with the others. Received: {options.shard}"
        )
    verbs.import_tensorflow()
    from keras_fracture import data, files
    from keras_fracture.inference import scoring

    if options.parts:
        table = scoring.read(options.parts)
    else:
        records = data.load(
            options.data, options.split, options.policy, data_dir=options.data_dir, **verbs.reading(options)
        )
        table = scoring.evaluate(options.model, records, shard, options.which)
    if options.out:
        print(f"wrote {len(table):,} rows to {files.write_text(options.out, scoring.text(table))}")
    if shard:
        return
    threshold = scoring.threshold(options.model, options.which) if options.model else 0.5
    seen = scoring.seen(options.model, options.data, table, options.which) if options.model else None
    if seen is None:
        print(
            "whether the model has seen these images cannot be told: it does not say what it was trained on"
        )
    elif seen.any():
        print(
            f"{seen.sum():,} of {len(table):,} images show X-rays that the model was trained or tuned on: "
            "the scores of all images are not those of a test"
        )
    _print_scores(table, threshold, "images")
    if seen is not None and seen.any():
        _print_scores(table[~seen], threshold, "images that it has not seen")


def _print_scores(table, threshold, what):
    from keras_fracture.errors import EvaluationError
    from keras_fracture.inference import scoring
    from keras_fracture.report.markdown import decimal

    print(f"{len(table):,} {what}, of {table['source'].nunique():,} X-rays, threshold {threshold:.3g}")
    try:
        scores = scoring.scores(table, threshold)
    except EvaluationError as error:
        if what == "images":
            raise
        print(f"no scores: {error}")  # of what is left, which says so
    else:
        for name, score in scores.items():
            print(f"{name:<13}{decimal(score)}")
