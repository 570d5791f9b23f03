import numpy as np
import pandas as pd
import pytest
from PIL import Image

from keras_fracture import cli, inference, models, serving
from keras_fracture.errors import ModelError, OutputError
from keras_fracture.inference import generating

SMALL = {"image_size": 32, "width": 2, "channels": 1}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run folder with the SavedModel of a generator of two classes."""
    run = tmp_path_factory.mktemp("run")
    model = models.create("dcgan_generator", num_classes=2, **SMALL)
    serving.export(model, run / "run-0" / "saved_model", metadata={"classes": ["healthy", "finding"]})
    model.save(run / "generator.keras")
    return run


def pixels(folder):
    return {path.name: np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))}


def test_images_are_the_same_bit_for_bit_whatever_the_count(exported, tmp_path):
    for name, count, seed in (("few", 3, 7), ("many", 70, 7), ("other", 3, 8)):
        inference.generate(exported, tmp_path / name, count, seed)
    few, many, other = (pixels(tmp_path / name) for name in ("few", "many", "other"))
    assert len(many) == 70
    for name, image in few.items():
        np.testing.assert_array_equal(image, many[name])
        assert (image != other[name]).any()
    assert len({image.tobytes() for image in many.values()}) == 70


def test_images_that_were_drawn_are_not_drawn_again(exported, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generating, "_BATCH", 4)
    inference.generate(exported, tmp_path / "whole", 14, seed=7)
    command = ["generate", str(exported), "--count", "14", "--seed", "7", "--out", str(tmp_path / "made")]
    draw, asked = generating._drawn, []

    def failing(source, noise, labels, batch):
        asked.append(len(noise))
        if len(asked) == 3:
            raise OutputError("cut off")
        return draw(source, noise, labels, batch)

    monkeypatch.setattr(generating, "_drawn", failing)
    assert cli.main(command) == 2 and not (tmp_path / "made").exists()
    assert len(list((tmp_path / "made.unfinished").glob("*.png"))) == 8
    assert cli.main([*command[:-1], str(tmp_path / "whole"), "--resume"]) == 2
    assert "whole exists already" in capsys.readouterr().err
    assert cli.main([*command, "--resume", "--class", "healthy"]) == 2
    assert "other work" in capsys.readouterr().err
    assert cli.main([*command, "--resume"]) == 0
    assert asked == [4, 4, 4, 4, 2]
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("made", "whole")
    ]
    assert contents[0] == contents[1] and len(contents[0]) == 15
    assert not (tmp_path / "made.unfinished").exists()


def test_the_table_and_the_files_say_what_each_image_is(exported, tmp_path):
    table = inference.generate(exported, tmp_path / "made", 3, seed=5)
    pd.testing.assert_frame_equal(table, pd.read_csv(tmp_path / "made" / "images.csv"))
    assert table["class"].tolist() == ["healthy", "finding", "healthy"]
    with Image.open(tmp_path / "made" / table["file"][1]) as image:
        assert image.mode == "L" and image.size == (32, 32)
        assert image.text == {"synthetic": "true", "seed": "5", "number": "1", "class": "finding"}


def test_the_command_takes_the_generator_by_model_alone_as_predict_does(exported, tmp_path, capsys):
    inference.generate(exported, tmp_path / "made", 2)
    assert (
        cli.main(["generate", "--model", str(exported), "--count", "2", "--out", str(tmp_path / "asked")])
        == 0
    )
    asked = pixels(tmp_path / "asked")
    assert len(asked) == 2
    for name, image in pixels(tmp_path / "made").items():
        np.testing.assert_array_equal(image, asked[name])
    assert cli.main(["generate", "--out", str(tmp_path / "none")]) == 2
    assert "Name a generator" in capsys.readouterr().err


def test_a_class_is_asked_for_by_name_or_number(exported, tmp_path):
    for name, label in (("turns", None), ("named", "finding"), ("numbered", "1")):
        inference.generate(exported, tmp_path / name, 2, label=label)
    turns, named, numbered = (pixels(tmp_path / name) for name in ("turns", "named", "numbered"))
    np.testing.assert_array_equal(turns["000001.png"], named["000001.png"])
    np.testing.assert_array_equal(named["000000.png"], numbered["000000.png"])
    assert (turns["000000.png"] != named["000000.png"]).any()


def test_saved_model_keras_file_and_weights_draw_alike(exported, tmp_path):
    inference.generate(exported / "run-0" / "saved_model", tmp_path / "saved", 2)
    inference.generate(exported / "generator.keras", tmp_path / "keras", 2)
    for name, image in pixels(tmp_path / "saved").items():
        other = pixels(tmp_path / "keras")[name]
        np.testing.assert_allclose(image.astype(int), other, atol=1)
    model = models.create("dcgan_generator", channels=3)
    model.save_weights(tmp_path / "dcgan.weights.h5")
    arguments = [str(tmp_path / "dcgan.weights.h5"), "--model", "dcgan_generator", "--count", "1"]
    assert cli.main(["generate", *arguments, "--out", str(tmp_path / "weights")]) == 0
    noise = np.random.default_rng(0).standard_normal((1, 100), "float32")
    expected = np.rint((np.asarray(model(noise))[0] + 1) * 127.5)
    np.testing.assert_allclose(pixels(tmp_path / "weights")["000000.png"], expected, atol=1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"label": "elbow"}, ModelError, r"knows healthy, finding. Received: 'elbow'"),
        ({"label": "2"}, ModelError, r"Received: '2'"),
        ({"count": 0}, ModelError, r"count must be 1 or more. Received: 0"),
        ({"out": "there"}, OutputError, r"there exists already"),
    ],
)
def test_bad_requests_are_one_line_and_leave_nothing(exported, tmp_path, options, error, message):
    (tmp_path / "there").mkdir()
    options = {"count": 2} | options
    with pytest.raises(error, match=message):
        inference.generate(exported, tmp_path / options.pop("out", "new"), **options)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_the_generators_of_a_run_are_named(exported, tmp_path, capsys):
    made = tmp_path / "grouped" / "gan" / "finding-0"
    made.mkdir(parents=True)
    (made / "saved_model").symlink_to(exported / "run-0" / "saved_model")
    classifier = tmp_path / "grouped" / "classifiers" / "saved_model"
    serving.export(models.create("compact_cnn", image_size=32), classifier)
    (tmp_path / "metrics.json").write_text("{}")
    assert cli.main(["generate", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert (
        f"This run is not a single generator: name one of {made / 'saved_model'}. Received: {tmp_path}"
        in said
    )
    assert generating.load(made / "saved_model").num_classes == 2


def test_a_classifier_draws_no_images(tmp_path, capsys):
    model = models.create("compact_cnn", image_size=32)
    model.save(tmp_path / "cnn.keras")
    model.save_weights(tmp_path / "cnn.weights.h5")
    serving.export(model, tmp_path / "cnn")
    for source, extra in (("cnn.keras", []), ("cnn.weights.h5", ["--model", "compact_cnn"]), ("cnn", [])):
        assert cli.main(["generate", str(tmp_path / source), "--out", str(tmp_path / "out"), *extra]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "generator" in error.lower(), error
    assert cli.main(["generate", str(tmp_path / "cnn.weights.h5"), "--out", str(tmp_path / "out")]) == 2
    assert "weights alone" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_classes_called_by_numbers_are_chosen_by_name():
    named = generating.Source(None, 8, (0, 1), 3, ["1", "2", "3"])
    assert [named.label(one) for one in ("1", 1, "3", None)] == [0, 0, 2, None]
    for odd in (0, "²", "4"):
        with pytest.raises(ModelError, match="no such class: it knows 1, 2, 3"):
            named.label(odd)
    unnamed = generating.Source(None, 8, (0, 1), 3)
    assert [unnamed.label(one) for one in ("1", 1, 2)] == [1, 1, 2]
    healthy = generating.Source(None, 8, (0, 1), 2, ["healthy", "finding"])
    assert [healthy.label(one) for one in ("finding", "0", 1)] == [1, 0, 1]
