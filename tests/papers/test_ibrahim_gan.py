import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from keras_fracture import papers
from keras_fracture.data.datasets.phantom import phantom_dataset_builder
from keras_fracture.errors import FractureError, OutputError
from keras_fracture.experiment.config import configure
from keras_fracture.experiment.runs import run_folder
from keras_fracture.experiment.splits import as_grey
from keras_fracture.papers.ibrahim_gan.config import Config
from keras_fracture.papers.ibrahim_gan.experiment import ARMS
from tests.drawings import assert_drawn

TINY = {
    "gan_width": 1 / 64,
    "synthetic_per_class": 20,
    "batch_size": 16,
    "image_size": 32,
    "policies": ("grouped",),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole run on few phantoms: its folder, and the folder its numbers were recorded in."""
    patch = pytest.MonkeyPatch()
    patch.setattr(phantom_dataset_builder.Builder, "SOURCES", (48, 32))
    patch.setenv("KERAS_FRACTURE_CACHE", str(tmp_path_factory.mktemp("cache")))
    folder, results = tmp_path_factory.mktemp("runs") / "run", tmp_path_factory.mktemp("results")
    papers.reproduce("ibrahim_gan", "smoke", out=folder, results=results, **TINY)
    yield folder, results
    patch.undo()


def test_the_report_holds_every_arm_with_the_papers_number(finished):
    text = (finished[0] / "report.md").read_text()
    for reported in ("92", "87", "91", "93"):
        assert f"| {reported} |" in text
    assert "**0 of" in text, "the grouped split must not leak"
    for figure in ("arms-accuracy", "arms-auc", "classifier-accuracy", "gan-losses", "grid-grouped-finding"):
        assert_drawn(finished[0] / f"{figure}.png")


def test_metrics_have_intervals_and_gains_against_the_original_arm(finished):
    metrics = json.loads((finished[0] / "metrics.json").read_text())
    runs = {run["variant"]: run for run in metrics["runs"]}
    assert set(runs) == set(ARMS)
    for arm, run in runs.items():
        assert run["metrics"]["auc"]["low"] <= run["metrics"]["auc"]["value"] <= run["metrics"]["auc"]["high"]
        gain = run["metrics"]["accuracy"]["value"] - runs["original"]["metrics"]["accuracy"]["value"]
        if arm != "original":
            assert run["metrics"]["accuracy_gain"]["value"] == pytest.approx(gain, abs=1e-12)
    assert metrics["splits"]["grouped"]["test"]["images_of_training_sources"] == 0
    recorded = json.loads((finished[1] / "ibrahim_gan.json").read_text())
    assert [run["metrics"] for run in recorded["runs"]] == [run["metrics"] for run in metrics["runs"]]
    assert {"command", "date", "versions", "reported"} <= set(recorded["runs"][0])


def test_the_history_has_every_epoch_of_every_classifier(finished):
    history = pd.read_csv(finished[0] / "history.csv")
    assert len(history) == 1 * 2 * 4  # epochs, seeds, arms
    assert history.groupby(["arm", "run"])["epoch"].max().eq(1).all()
    assert history["val_accuracy"].between(0, 1).all()


def test_synthetic_images_are_made_for_both_classes_and_differ(finished):
    made = [np.load(finished[0] / "grouped" / "gan" / f"{name}-0" / "synthetic.npz")["images"]
            for name in ("healthy", "finding")]  # fmt: skip
    assert [images.shape for images in made] == [(20, 32, 32, 1)] * 2
    assert np.abs(made[0].astype(int) - made[1]).max() > 0


def test_a_run_cut_off_late_resumes_to_the_same_numbers(finished):
    folder = finished[0]
    before = json.loads((folder / "metrics.json").read_text())["runs"]
    for lost in (folder / "metrics.json", folder / "grouped" / "classifiers" / "warm_start-1.npz"):
        lost.unlink()
    papers.reproduce("ibrahim_gan", "smoke", out=folder, resume=True, **TINY)
    assert json.loads((folder / "metrics.json").read_text())["runs"] == before


def test_a_folder_in_use_and_other_settings_are_refused(finished, tmp_path):
    with pytest.raises(OutputError, match="holds a run already"):
        papers.reproduce("ibrahim_gan", "smoke", out=finished[0], **TINY)
    with pytest.raises(OutputError, match="other settings of synthetic"):
        papers.reproduce(
            "ibrahim_gan", "smoke", out=finished[0], resume=True, **TINY | {"synthetic_per_class": 21}
        )


def test_profiles_are_the_papers_numbers_and_overrides_win():
    paper = configure(Config, "paper", data=None, seeds=None)
    assert (paper.gan_epochs, paper.synthetic_per_class, paper.epochs, paper.gan_width, paper.gan_channels) == (
        100, 10_500, 20, 1.0, 3,
    )  # fmt: skip
    assert (paper.gan_steps, paper.seeds) == (None, 5)
    assert configure(Config, "quick").seeds == 3
    assert configure(Config, "quick", seeds=4, data="btxrd").data == "btxrd"
    assert Config.REPORTED == {"original": 0.92, "classic": 0.87, "synthetic": 0.91, "warm_start": 0.93}
    with pytest.raises(dataclasses.FrozenInstanceError):
        paper.seeds = 1


def test_what_does_not_exist_is_said(tmp_path, monkeypatch):
    with pytest.raises(FractureError, match="No such paper"):
        papers.get("nature_2030")
    with pytest.raises(FractureError, match="No such profile"):
        configure(Config, "huge")
    with pytest.raises(FractureError, match="has no setting colour"):
        configure(Config, "smoke", colour=3)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="no unfinished run"):
        run_folder("ibrahim_gan", resume=True)


def test_grey_is_the_mean_of_the_channels():
    images = np.array([[[[0, 3, 6], [10, 10, 11]]]], np.uint8)
    assert as_grey(images)[..., 0].tolist() == [[[3, 10]]]
