import dataclasses
from typing import ClassVar

import keras
import pytest

from keras_fracture import papers
from keras_fracture.errors import FractureError
from keras_fracture.papers import recipe
from keras_fracture.papers.gupta_unit import GuptaUNIT
from keras_fracture.papers.lisbon_resnet import LisbonResNet


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


@pytest.mark.parametrize(
    "text", ["size=112", "image_size", "image_size=large", "augment=1", "rate=True", "rate=None"]
)
def test_a_setting_that_is_none_is_refused(text):
    with pytest.raises(FractureError, match="Received"):
        recipe.settings_of(LisbonResNet, [text])


@pytest.mark.parametrize("places", [["--out", "/home/me/run", "--data-dir", "/data"], ["--out=/home/me/run"]])
def test_the_recorded_command_names_no_folder_of_this_machine(monkeypatch, places):
    words = ["/opt/bin/keras-fracture", "reproduce", "lisbon_resnet", *places, "--seed", "1"]
    monkeypatch.setattr("sys.argv", words)
    assert recipe.provenance()["command"] == "keras-fracture reproduce lisbon_resnet --seed 1"


def test_none_can_be_asked_for(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(GuptaUNIT, "run", lambda chosen, out, data_dir: seen.append(chosen))
    papers.reproduce("gupta_unit", "smoke", out=tmp_path / "run", texts=["unit_ema=None"], seed=None)
    assert seen[0].unit_ema is None and seen[0].seed == GuptaUNIT.seed


def test_gupta_unit_needs_a_translator():
    with pytest.raises(FractureError, match=r"translators must be 1 or more. Received: 0"):
        GuptaUNIT(translators=0)


def test_a_recipe_runs_in_its_precision_and_leaves_none_behind(tmp_path, monkeypatch):
    seen = []

    @dataclasses.dataclass(frozen=True)
    class Seeing(recipe.Recipe):
        key = "seeing"
        PROFILES: ClassVar = {"quick": {}}

        def run(self, out, data_dir=None):
            seen.append(keras.config.dtype_policy().name)

    monkeypatch.setattr(papers, "get", lambda key: Seeing)
    for chosen in ("mixed_bfloat16", "float32"):
        papers.reproduce("seeing", out=tmp_path / chosen, texts=[f"precision={chosen}"])
    assert seen == ["mixed_bfloat16", "float32"] and keras.config.dtype_policy().name == "float32"
    with pytest.raises(FractureError, match=r"precision must be one of .* Received: 'float8'"):
        papers.reproduce("seeing", out=tmp_path / "none", texts=["precision=float8"])
    assert not (tmp_path / "none").exists()
