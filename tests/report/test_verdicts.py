"""No verdict from too few X-rays, none of the average precision, and no seed where there is a single one."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from keras_fracture import evaluation
from keras_fracture.evaluation import Predictions
from keras_fracture.evaluation.bootstrap import of_none_or_all
from keras_fracture.papers import classifier_report, classifier_table
from keras_fracture.report import baselines, captions, explanations, scored
from keras_fracture.report.groups import ENOUGH, FEW


def perfect(sources, runs=1):
    """Predictions that are all right, of so many X-rays a class, two files of each."""
    labels = np.repeat((0, 1), 2 * sources)
    names = np.repeat(np.arange(2 * sources), 2).astype(str)
    return Predictions(labels, names, np.repeat([np.where(labels, 0.9, 0.1)], runs, 0))


@pytest.mark.parametrize("sources", [2, ENOUGH - 1, ENOUGH])
def test_a_perfect_model_of_few_xrays_is_not_called_better_than_guessing(sources):
    predictions = perfect(sources)
    scores = evaluation.scores(predictions, evaluation.METRICS, 20)
    words = captions.roc(predictions, scores, "at")
    assert ("lies above that" in words) == (sources == ENOUGH)
    assert (f"comes from {FEW}" in words) == (sources < ENOUGH)


def test_average_precision_gets_no_verdict():
    predictions = perfect(20)
    scores = evaluation.scores(predictions, evaluation.METRICS, 20)
    words = captions.precision_recall(predictions, scores, "at")
    assert "all of its interval" not in words and "can be shown" not in words
    assert "average precision is 1.000 (1.000 to 1.000). Where findings are rarer" in words


@pytest.mark.parametrize(
    ("high", "sources", "said"),
    [(0.6, 2, []), (0.49, 2, [scored.UNSURE]), (0.49, ENOUGH, [scored.SWAPPED])],
)
def test_classes_are_called_swapped_only_with_enough_xrays(high, sources, said):
    assert scored.swapped({"metrics": {"auc": {"high": high}}, "sources": sources}) == said
    assert FEW in scored.UNSURE


def compared(**more):
    one = {"name": "hog", "auc_difference": {"value": 0.1, "low": 0.05, "high": 0.2}}
    one["accuracy_difference"] = one["auc_difference"]
    return {"strongest": one, "blind": one | {"name": "file"}, "paired": True} | more


def test_a_comparison_of_few_xrays_calls_no_model_better():
    for enough in (compared(), compared(sources=ENOUGH)):  # earlier versions did not record them
        assert baselines.verdict(enough).startswith("Better than boosted trees on image gradients")
        assert baselines.cells(enough)[0].endswith("`hog`: better")
    few = compared(sources=ENOUGH - 1)
    assert baselines.verdict(few).count(f"T{FEW[1:]} whether it is better than boosted trees") == 2
    assert [cell.split(": ")[1] for cell in baselines.cells(few)] == [FEW, FEW]


def test_the_rarer_class_has_so_many_xrays():
    assert evaluation.least_sources(perfect(3)) == 3
    mixed = Predictions(np.array([0, 1, 0, 0, 1]), np.array(["a", "a", "b", "c", "d"]), np.full((1, 5), 0.5))
    assert evaluation.least_sources(mixed) == 2, "an X-ray with a finding in one file has one"


def test_intervals_of_one_seed_cover_none():
    assert captions.resampled(3).endswith("whole X-rays (sources, not files) and seeds")
    assert captions.resampled(1).endswith("one seed, so that they do not cover training again")
    for seeds, ensemble, end in (
        (3, False, " and seeds.\n"),
        (1, False, "not cover training again.\n"),
        (3, True, "3 seeds.\n"),
    ):
        told = classifier_report._tested(SimpleNamespace(seeds=seeds, ensemble=ensemble, flips=False))
        assert told.startswith("95 % intervals in brackets: bootstrap that resamples whole X-rays")
        assert told.endswith(end) and ("; one ensemble, so that" in told) == ensemble
    assert "fits and seeds where there are several" in baselines.HOW


def test_heat_is_that_of_the_first_seed_and_stands_beside_chance():
    pointing = {"value": 0.32, "chance": 0.05, "images": 72}
    assert "that of the first seed alone, lies in a box in 32.0 %" in captions.heat(pointing, several=True)
    assert "Pointing game: its maximum lies in a box in 32.0 %" in captions.heat(pointing)
    assert classifier_table._pointing(pointing) == "32 (5)"
    assert classifier_table._pointing({"value": 0.32}) == "32" and classifier_table._pointing({}) == ""
    assert "first seed" in classifier_table._MORE["pointing"]


@pytest.mark.parametrize(("sources", "expected"), [(72, 0.04994), (73, 0.04928), (100, 0.03622)])
def test_none_of_few_is_no_proof_of_less_than_chance(sources, expected):
    none, each = of_none_or_all(False, sources), of_none_or_all(True, sources)
    assert none == {"low": 0, "high": pytest.approx(expected, abs=1e-5)}  # Clopper and Pearson's tables
    assert each == {"low": pytest.approx(1 - expected, abs=1e-5), "high": 1}
    chance = {"chance": 0.0455, "chance_of_others": 0.0}
    verdict = explanations._beyond({"value": 0.0} | none | chance)
    assert verdict == ("less" if sources == 100 else "not shown")


@pytest.mark.parametrize(("sources", "words"), [(ENOUGH - 1, FEW), (ENOUGH, "yes"), (None, "yes")])
def test_heat_maps_of_few_xrays_get_no_verdict(tmp_path, sources, words):
    score = {"value": 0.9, "low": 0.8, "high": 1.0, "chance": 0.05, "chance_of_others": 0.1}
    content = {"model": "net", "data": "fracatlas", "side": 64, "auc": score, "images": 9, "command": "c"}
    content |= {"machine": "m", "date": "2026-01-01"} | ({"sources": sources} if sources else {})
    content["rows"] = [{"method": "Grad-CAM", "pointing": score, "overlap": score, "without": 0}]
    (tmp_path / "net").mkdir()
    (tmp_path / "net/explanations.json").write_text(json.dumps(content))
    assert f"| 5.0 | 10.0 | {words} |" in explanations.recorded(tmp_path)
