"""How a classifier does on another data set than that it was trained on."""

from keras_fracture import evaluation
from keras_fracture.data import across, catalogue
from keras_fracture.errors import DataError, EvaluationError
from keras_fracture.inference import scoring
from keras_fracture.report.markdown import counted, decimal
from keras_fracture.report.scored import of_groups


def examine(model, data, table, records=None, which=None):
    """What is other there: ranking, calibration, threshold, groups.

    Args:
        model: As in `scoring.evaluate`.
        data: Name of the data set that was tested on, or the path of own X-rays.
        table: Of `scoring.evaluate`, with both classes; or some of its rows, with their index.
        records: The `data.Records` that were asked about, whose body parts and views make groups; None takes the body
            parts of `table`.
        which: As in `scoring.evaluate`.

    Returns:
        None where the model was trained on that data set, or does not say on which. Else a dict: `trained_on`, the
        names of all data sets that it has seen, and `tested_on`; `images`, how many; `auc`; `recorded_auc`, that of the
        test at training, None where the model's metadata have none; `mean_probability`; `observed`, the share of
        findings; `ece`, the expected calibration error; `thresholds`, of the model's own and of the best for these very
        images a dict of `threshold`, `sensitivity` and `specificity`; `groups`, of `evaluation.by_group`. Scores are
        dicts of `value`, `low` and `high`.

    Raises:
        ModelError: As in `scoring.seen`.
        EvaluationError: As in `scoring.scores`.
    """
    said, name = scoring.trained_on(model, which), catalogue.title(data)
    if not said or said[0].data == name:
        return None
    labels, probabilities = table["label"].to_numpy(), table["probability"].to_numpy()
    own = scoring.predictions(table, scoring.threshold(model, which))
    best = scoring.predictions(table, evaluation.best_threshold(labels, probabilities))
    values = evaluation.scores(own, ("auc", "ece"))
    groups = table if records is None else records.table.loc[table.index]
    return {
        "trained_on": _names(said),
        "tested_on": name,
        "images": len(table),
        "auc": values["auc"],
        "recorded_auc": scoring.find(model, which)[1].get("metrics", {}).get("auc"),
        "mean_probability": float(probabilities.mean()),
        "observed": float(labels.mean()),
        "ece": values["ece"],
        "thresholds": [_at_threshold(one) for one in (own, best)],
        "groups": evaluation.by_group(
            own, groups, [name for name in ("body_part", "view") if name in groups]
        ),
    }


def _names(said):
    """Of the data sets that a model has seen, its own first."""
    return " and ".join(dict.fromkeys(one.data for one in said)) or "none"


def _at_threshold(predictions):
    values = evaluation.scores(predictions, ("recall", "specificity"))
    return {
        "threshold": float(predictions.threshold),
        "sensitivity": values["recall"],
        "specificity": values["specificity"],
    }


def lines(report):
    """What `examine` found, as lines for a terminal; none of None."""
    if report is None:
        return []
    recorded = report["recorded_auc"]
    recorded = f"at training {_score(recorded)}" if recorded else "its metadata have none of training"
    excess = report["mean_probability"] - report["observed"]
    own, best = report["thresholds"]
    return [
        f"trained on {report['trained_on']}, tested on {report['tested_on']}, {counted(report['images'], 'image')}:",
        f"AUC {decimal(report['auc'])}; {recorded}",
        f"calibration: mean probability {report['mean_probability']:.3f}, share of findings {report['observed']:.3f} "
        f"({excess:+.3f}); expected calibration error {decimal(report['ece'])}",
        f"threshold {own['threshold']:.3g}, the model's: {_both(own)}",
        f"threshold {best['threshold']:.3g}, the best for these images, chosen on these very images and so no test: "
        f"{_both(best)}",
        *of_groups(report["groups"]),
    ]


def _score(score):
    return decimal(score) if "low" in score else f"{score['value']:.3f}"


def _both(at):
    return f"sensitivity {decimal(at['sensitivity'])}, specificity {decimal(at['specificity'])}"


def copies(model, against, data, table, which=None, data_dir=None, **reading):
    """Which rows show an X-ray that a model has seen in another data set, told by the pixels.

    Args:
        model: As in `scoring.evaluate`; it says what it has seen.
        against: The data set that it was trained on, by name or path.
        data: That of the rows, by name or path.
        table: Of `scoring.evaluate`.
        which: As in `scoring.evaluate`.
        data_dir: Where published data lie.
        **reading: How `data` is read, where these are own X-rays; see `data.prepare`.

    Returns:
        bool `(n,)`: equal, or nearly equal, to an image of `against` that was trained or tuned on. Drawn images, many
        of which look alike, have to be equal.

    Raises:
        EvaluationError: The model was trained on another data set, or does not say on which.
        DataError: As in `data.prepare`.
    """
    said, name = scoring.trained_on(model, which), catalogue.title(against)
    said = [one for one in said if one.data == name]
    if not said:
        raise EvaluationError(
            f"--against is the data set that the model was trained on, {_names(scoring.trained_on(model, which))}. "
            f"Received: {against!r}"
        )
    ours = catalogue.catalogue(data, data_dir, **reading)
    theirs = catalogue.catalogue(against, data_dir)
    seen = theirs.table[scoring.among(said, name, theirs.table)]
    if not len(seen) and any(value is not None for value in reading.values()):
        try:  # with patients told as those of `data`
            theirs = catalogue.catalogue(against, data_dir, **reading)
        except DataError:
            pass
        else:
            seen = theirs.table[scoring.among(said, name, theirs.table)]
    if not len(seen):
        raise EvaluationError(
            f"--against holds none of the X-rays that the model has seen: it is another folder of that name, or its "
            f"patients are told otherwise than at training. Received: {against!r}, {len(theirs.table):,} images"
        )
    drawn = ours.root is None or theirs.root is None
    found = (across.matches(ours.table, seen, drawn)["row"] >= 0).to_numpy()
    return table["filename"].isin(ours.table["filename"][found]).to_numpy()
