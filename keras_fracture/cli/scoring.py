"""How good anybody's predictions are, from any framework."""

import datetime
from pathlib import Path

from keras_fracture import progress
from keras_fracture.cli import verbs
from keras_fracture.report import board, markdown


def add_score(commands):
    """Adds `score`."""
    verb = verbs.add(
        commands, "score", score, "score anybody's predictions, of any framework, of a data set's test images",
        "keras-fracture score predictions.csv --data fracatlas --against other.csv",
    )  # fmt: skip
    verb.add_argument(
        "predictions",
        help="csv: filename (or file, image); probability (of a finding), or logit, or healthy and finding; maybe seed",
    )
    verb.add_argument(
        "--data", metavar="NAME", required=True, help="data set, or the path of your own X-rays"
    )
    verbs.own_data(verb)
    verb.add_argument("--policy", default="grouped", help="split policy (default: grouped)")
    verbs.splits(verb)
    verb.add_argument(
        "--threshold",
        type=float,
        help="probability from which on an image counts as a finding (default: 0.5)",
    )
    verb.add_argument(
        "--average",
        action="store_true",
        help="score the mean of the seeds' probabilities, one ensemble, in place of each seed; --against's seeds are "
        "not averaged: the ensemble is compared with each of them",
    )
    verb.add_argument(
        "--against", metavar="FILE", help="other predictions of the same images, for the difference"
    )
    verb.add_argument("--out", metavar="DIR", help="folder for a report with figures")
    verb.add_argument(
        "--submit", metavar="NAME", help="also write DIR/NAME.json for the board, DIR see --board"
    )
    verb.add_argument("--board", metavar="DIR", default="results/board", help="default: results/board")
    for field, what in board.CARD.items():
        verb.add_argument(f"--{field.replace('_', '-')}", metavar="TEXT", help=f"on the board: {what}")
    verbs.data_dir(verb)


def score(options):
    """`score`."""
    card = {field: getattr(options, field) for field in board.CARD}
    _check(options, card)
    verbs.import_tensorflow()
    from keras_fracture.data import catalogue
    from keras_fracture.evaluation import scorer
    from keras_fracture.report import scored

    name = catalogue.title(options.data)
    sets, digest = _images(options)
    test = sets["test"]
    further = {
        image: split for split, table in sets.items() if split != "test" for image in table["filename"]
    }
    policy = _published(options, digest)
    threshold = scorer.THRESHOLD if options.threshold is None else options.threshold
    paths = [options.predictions, *([options.against] if options.against else [])]
    ours, *others = (scorer.predictions(path, name, test, further, threshold) for path in paths)
    members = len(ours.probabilities)
    if options.average:
        ours = scorer.averaged(ours)
    result = scored.score(ours, test)
    differences = {Path(options.against).stem: scorer.difference(ours, one) for one in others}
    facts = {
        "data": name,
        "split_policy": policy,
        "split_digest": digest,
        "images": len(test),
        "findings": int(test["label"].sum()),
        "sources": int(test["source"].nunique()),
        "seeds": len(ours.probabilities),
        "threshold": threshold,
    } | ({"ensemble_of": members} if options.average else {})
    averaged = f", an ensemble of {members}" if options.average else ""
    print(
        f"{len(test):,} test images of {name}, {policy} split, of {facts['sources']:,} "
        f"{markdown.source_names(policy)[1]}, "
        f"seeds: {facts['seeds']}{averaged}\nsplit {digest}\n"
        f"threshold {threshold:g}, {'as given' if options.threshold is not None else 'fixed, unless --threshold says'}"
    )
    if options.average and any(len(one.probabilities) > 1 for one in others):
        count = len(others[0].probabilities)
        print(
            f"beside {Path(options.against).stem}: the ensemble against each of its {count} seeds, on average"
        )
    if line := catalogue.synthetic_among(options.data, test["filename"], **verbs.reading(options)):
        print(line)
    beside = _baselines(options, sets, ours, threshold)
    print("\n".join(scored.lines(result, differences, beside)))
    if options.out:
        heading = Path(options.predictions).stem
        folder = scored.write(options.out, heading, facts, ours, result, differences, beside)
        progress.say(f"wrote {folder}/report.html")
    if options.submit:
        rows = scorer.text(ours, test["filename"])
        content = {"metrics": result["metrics"], "differences": differences, "card": card}
        content = facts | {"date": datetime.date.today().isoformat()} | content
        progress.say(f"wrote {board.submit(options.board, options.submit, content, rows)}")


def _check(options, card):
    """What is wrong before anything is read."""
    from keras_fracture.errors import EvaluationError

    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise EvaluationError(f"--threshold must be from 0 to 1. Received: {options.threshold}")
    given = [field for field, words in card.items() if words is not None]
    if options.submit is None and given:
        raise EvaluationError(f"--{given[0].replace('_', '-')} goes with --submit. Received: it alone")
    if options.submit is not None:
        board.check(options.submit, card)


def _images(options):
    """Each split's table, by name, and the digest of the splits."""
    from keras_fracture import data
    from keras_fracture.data import split_files

    reading = verbs.reading(options)
    records = data.load_all(
        options.data, options.policy, splits=options.splits, data_dir=options.data_dir, **reading
    )
    rows = split_files.table(options.data, records, options.data_dir, **reading)
    return {split: one.table for split, one in records.items()}, split_files.digest(split_files.text(rows))


def _baselines(options, sets, ours, threshold):
    """What needs no network beside the predictions, as lines."""
    from keras_fracture.data import facts
    from keras_fracture.errors import EvaluationError
    from keras_fracture.evaluation import baselines as measured
    from keras_fracture.report import baselines

    known = facts.read(options.data, data_dir=options.data_dir, **verbs.reading(options))
    try:
        fits = max(len(ours.probabilities), measured.FITS)
        fitted = measured.fit(sets, known, fits, threshold=threshold)
    except EvaluationError as error:  # of a split without one class, such as an own one
        return [f"no baselines: {error}"]
    return baselines.beside(measured.compare(ours, fitted), options.data)


def _published(options, digest):
    """The name of the split policy; warned of, or on the board refused, where the split is not a published one."""
    from keras_fracture.data import catalogue
    from keras_fracture.errors import EvaluationError

    known = options.data in catalogue.NAMES
    digests = getattr(catalogue.layout(options.data), "DIGESTS", {}) if known else {}
    policy = next((policy for policy, one in digests.items() if one == digest), None)
    if policy is None and digests:
        said = (
            f"this split of {options.data} is none of the published ones ({', '.join(digests)}): another copy of the "
            f"data, or another split. Received: digest {digest}"
        )
        if options.submit is not None:
            raise EvaluationError(f"The board compares predictions of the same images: {said}")
        print(f"warning: {said}")
    if options.submit is not None and not known:
        raise EvaluationError(
            f"The board is of published data sets: {', '.join(catalogue.NAMES)}. Received: {options.data!r}"
        )
    return policy or ("file" if options.splits else options.policy)
