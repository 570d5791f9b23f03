"""`judge` holds generated images against what their generator has learnt from."""

import pytest

from keras_fracture import cli, data, inference, models, serving
from keras_fracture.errors import ImageError, ModelError
from keras_fracture.inference import judging, origins
from keras_fracture.serving.metadata import facts_of
from keras_fracture.serving.versions import version_of

LEARNT = {"data": "phantom", "policy": "paper", "splits": "train+validation", "crop": True}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of images of a generator that says what it learnt from."""
    folder = tmp_path_factory.mktemp("origins")
    model = models.create("dcgan_generator", image_size=32, width=2, channels=1)
    serving.export(model, folder / "model", metadata={"learnt_from": LEARNT})
    table = inference.generate(folder / "model", folder / "made", 8)
    assert table[list(LEARNT)].drop_duplicates().to_dict("records") == [LEARNT]
    return folder / "made"


def judged(monkeypatch, caplog, folder, *options):
    """What `judge` holds the images against: the real ones, those that may be copied, whether cropped; and warnings."""
    asked, before = [], len(caplog.messages)

    def judge(generated, real, known, label, features, seed, crop, synthetic):
        asked.append((real.table, known.table, crop))
        raise ImageError("enough")

    monkeypatch.setattr(judging, "judge", judge)
    assert cli.main(["judge", str(folder), *options]) == 2
    return *asked[0], caplog.messages[before:]


def learnable():
    """All images that a generator of `grouped` may have copied."""
    return {
        name for split in ("train", "validation") for name in data.load("phantom", split).table["filename"]
    }


def copied(made, to, old="", new=""):
    """The images of a folder in another one, some text of their table changed."""
    to.mkdir()
    for path in made.iterdir():
        content = path.read_bytes()
        (to / path.name).write_bytes(
            content.replace(old.encode(), new.encode()) if path.suffix == ".csv" else content
        )
    return to


def test_what_the_generator_learnt_from_is_the_default(made, monkeypatch, caplog):
    real, known, crop, warned = judged(monkeypatch, caplog, made)
    wanted = {
        split: set(data.load("phantom", split, "paper").table["filename"])
        for split in ("train", "validation", "test")
    }
    assert set(real["filename"]) == wanted["test"]
    assert set(known["filename"]) == wanted["train"] | wanted["validation"]
    assert crop and warned == []
    grouped = set(data.load("phantom", "train").table["filename"])
    assert set(known["filename"]) != grouped


def test_options_that_contradict_it_are_heeded_with_one_warning(made, monkeypatch, caplog):
    options = ("--data", "phantom", "--policy", "grouped", "--no-crop")
    _, known, crop, warned = judged(monkeypatch, caplog, made, *options)
    assert set(known["filename"]) == learnable() and not crop
    assert len(warned) == 1
    assert "learnt from the split policy paper, not grouped; cropped images, not padded ones" in warned[0]


def test_images_that_say_nothing_are_held_against_grouped_ones(made, monkeypatch, caplog, tmp_path, capsys):
    (tmp_path / "000.png").write_bytes(next(made.glob("*.png")).read_bytes())
    _, known, crop, warned = judged(monkeypatch, caplog, tmp_path, "--data", "phantom")
    assert set(known["filename"]) == learnable() and not crop, "validation images may have been copied, too"
    assert len(warned) == 1 and "grouped is taken" in warned[0]
    *_, warned = judged(monkeypatch, caplog, tmp_path, "--data", "phantom", "--policy", "grouped")
    assert warned == []
    assert cli.main(["judge", str(tmp_path)]) == 2
    assert "Name the data set that the generator was trained on by --data" in capsys.readouterr().err


def test_images_of_several_generators_are_not_judged_together(made, tmp_path, capsys):
    other = copied(made, tmp_path / "other", ",paper,", ",grouped,")
    assert cli.main(["judge", str(made), str(other)]) == 2
    assert "Received: phantom, grouped; phantom, paper" in capsys.readouterr().err


def test_a_spreadsheet_writes_true_in_capitals_and_odd_words_are_refused(
    made, tmp_path, monkeypatch, caplog, capsys
):
    _, _, crop, warned = judged(
        monkeypatch, caplog, copied(made, tmp_path / "capitals", ",True\n", ",TRUE\n")
    )
    assert crop and warned == []
    for number, (old, new) in enumerate(
        ((",True\n", ",perhaps\n"), ("train+validation", "training"), ("train+", "test+"))
    ):
        assert cli.main(["judge", str(copied(made, tmp_path / str(number), old, new))]) == 2
        assert (
            f"cannot be read what the generator learnt from: {('crop', 'splits')[number > 0]} must be"
            in capsys.readouterr().err
        )


def test_images_without_an_origin_beside_others_are_warned_of(made, tmp_path, monkeypatch, caplog):
    both = copied(made, tmp_path / "both")
    for path in sorted(both.glob("*.png"))[2:]:
        path.rename(path.with_name(f"mine_{path.name}"))
    *_, warned = judged(monkeypatch, caplog, both)
    assert any(
        "of 6 of 8 images learnt from: they are judged as the others, which are of phantom, paper" in one
        for one in warned
    )


@pytest.mark.parametrize(
    ("name", "origin"),
    [
        ("dcgan_generator", ("kaggle_fracture", "paper", "train+validation", True)),
        ("dcgan_phantom", ("phantom", "grouped", "train", False)),
    ],
)
def test_shipped_generators_say_it_in_words(name, origin):
    assert origins.of_model(facts_of(version_of(name))) == origin


def test_what_cannot_be_read_is_said():
    assert origins.of_model({}) is None
    with pytest.raises(ModelError, match="export it again"):
        origins.of_model({"learnt_from": {"data": "phantom"}})
    with pytest.raises(ModelError, match="splits must be train"):
        origins.of_model({"learnt_from": LEARNT | {"splits": "test"}})
