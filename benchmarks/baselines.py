"""What can be told without a network, and recorded classifiers beside it: `python -m benchmarks baselines`."""

import datetime
import json
from pathlib import Path

from benchmarks.errors import BenchmarkError
from keras_fracture import data, evaluation, files, papers
from keras_fracture.data import catalogue
from keras_fracture.evaluation import baselines
from keras_fracture.inference import scoring
from keras_fracture.progress import Bar
from keras_fracture.report import benchmarks, results

FILE = "baselines.json"
_CLOSE = 0.005  # AUC of a shipped model here and as it was recorded


def measure(folder="results", names=catalogue.NAMES, seeds=3, data_dir=None):
    """Writes `evaluation.baselines.measure` of some data sets, all of their split policies, to `FILE`.

    Args:
        folder: Where results are kept.
        names: Of data sets.
        seeds: How many times each baseline is fitted.
        data_dir: Where published data lie.

    Returns:
        The file's path.
    """
    path = Path(folder) / FILE
    for name in names:
        table = baselines.measure(name, seeds=seeds, data_dir=data_dir)
        facts = {"seeds": seeds, "date": datetime.date.today().isoformat()}
        benchmarks.record(path, name, facts | {"rows": table.to_dict("records")})
    return path


def fill(folder="results", models="saved_models", data_dir=None):
    """Puts the baselines into all recorded rows of classifiers that have none.

    Rows whose model is shipped are compared image by image. Of the others no predictions are kept: they are compared
    by their intervals, which is said in `paired`. Rows that a run has compared itself stay as they are.

    Args:
        folder: Where `KEY.json` are kept.
        models: Where SavedModels lie.
        data_dir: Where published data lie.

    Returns:
        A list of (key, row, "paired", "unpaired" or "kept").
    """
    shipped, done = _shipped(models), []
    for key in papers.names():
        path = Path(folder) / f"{key}.json"
        if not path.is_file():
            continue
        content = results.read(path)
        rows = [run for run in content["runs"] if _is_classifier(run)]
        for run in Bar(rows, key, unit=" rows", delay=1):
            model = shipped.get(_identity(run)) if results.networks(run) == 1 else None
            if model or not run.get("baselines", {}).get("paired"):
                _fill_row(run, model, data_dir)
            how = "paired" if model else "kept" if run["baselines"]["paired"] else "unpaired"
            done.append((key, run, how))
        if rows:
            files.write_text(path, json.dumps(content, indent=1) + "\n")
    return done


def _is_classifier(run):
    """Whether a row is of a classifier of whole images that learnt from the whole training split."""
    return {"accuracy", "auc"} <= set(run.get("metrics", ())) and not {"study", "part"} & set(run)


def _identity(facts):
    return facts["command"], facts["metrics"]["auc"]["value"]


def _shipped(models):
    """(command, AUC) to the version folder of each model whose metadata has them."""
    found = {}
    for path in sorted(Path(models).glob("*/*/metadata.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        if "auc" in facts.get("metrics", ()):
            found[_identity(facts)] = path.parent
    return found


def _fill_row(run, model, data_dir):
    threshold = 0.5 if run.get("threshold", 0.5) == 0.5 else None
    fits = max(results.networks(run), baselines.FITS)
    fitted = baselines.of_data(run["data"], run["split_policy"], fits, data_dir, threshold)
    if not model:
        run["baselines"] = baselines.compare_scores(run["metrics"], fitted)
        return
    records = data.load(run["data"], "test", run["split_policy"], data_dir=data_dir)
    predictions = scoring.predictions(scoring.evaluate(model, records), run["threshold"])
    here = evaluation.scores(predictions, ("auc",))["auc"]["value"]
    if abs(here - run["metrics"]["auc"]["value"]) > _CLOSE:
        raise BenchmarkError(
            f"{model} is not the model of the recorded row: AUC {run['metrics']['auc']['value']:.4f} is recorded. "
            f"Received: {here:.4f}"
        )
    run["baselines"] = baselines.compare(predictions, fitted)
    if inside := evaluation.within(predictions, records.table["body_part"]):
        run["metrics"]["auc_within_body_part"] = inside
