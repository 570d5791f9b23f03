import pytest

from keras_fracture.errors import FractureError
from keras_fracture.papers import recipe
from keras_fracture.papers.gupta_unit import GuptaUNIT
from keras_fracture.papers.lisbon_resnet import LisbonResNet
from keras_fracture.report import results


def test_settings_take_the_type_of_the_recipes_own():
    found = recipe.settings_of(
        LisbonResNet, ["image_size=112", "rate=1", "augment=True", "policies=paper,grouped", "data=phantom"]
    )
    assert found == {
        "image_size": 112,
        "rate": 1.0,
        "augment": True,
        "policies": ("paper", "grouped"),
        "data": "phantom",
    }
    assert isinstance(found["rate"], float)
    assert recipe.settings_of(GuptaUNIT, ["thresholds=0.5"]) == {"thresholds": (0.5,)}
    assert recipe.settings_of(GuptaUNIT, ["thresholds=0,0.9"]) == {"thresholds": (0.0, 0.9)}


@pytest.mark.parametrize("text", ["size=112", "image_size", "image_size=large", "augment=1", "rate=True"])
def test_a_setting_that_is_none_is_refused(text):
    with pytest.raises(FractureError, match="Received"):
        recipe.settings_of(LisbonResNet, [text])


def test_results_of_other_parts_stand_beside_each_other(tmp_path):
    run = {"variant": "v", "model": "m", "data": "d", "split_policy": "s", "profile": "p"}
    config = {"paper": "gupta_unit", "command": "c", "date": "d", "versions": {}}
    for part, value in (("tibia", 1), ("femur", 2), ("tibia", 3)):
        results.keep(tmp_path, config, {"runs": [run | {"part": part, "value": value}]}, tmp_path)
    kept = results.read(tmp_path / "gupta_unit.json")["runs"]
    assert [(one["part"], one["value"]) for one in kept] == [("femur", 2), ("tibia", 3)]
