import errno
import json
import os
import re
import subprocess
import sys
import textwrap

import cv2
import numpy as np
import pytest

from keras_fracture import cli, files, papers
from keras_fracture.data import phantom


def run(capsys, *arguments):
    """Exit code, stdout and stderr of one command."""
    try:
        code = cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()


def fails(capsys, words, *arguments):
    code, _, error = run(capsys, *arguments)
    assert code == 2
    assert error.count("\n") == 1 and "Traceback" not in error
    assert words in error


@pytest.fixture
def kaggle(tmp_path):
    """A data folder in the Kaggle layout, drawn, to be spoilt."""
    root = tmp_path / "data" / "kaggle_bone_fracture"
    records = phantom.records(seed=1, sources=24, size=48)
    for index, record in enumerate(records):
        folder = (
            root
            / ("val" if index % 5 == 0 else "train")
            / ("fractured" if record["label"] else "not fractured")
        )
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{index}.jpg"), record["image"])
    return root


def test_help_names_every_command_and_does_not_import_tensorflow():
    code = "import sys, keras_fracture.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'tensorflow', 'keras', 'cv2', 'pandas'} & set(sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(verb in shown for verb in ("data", "reproduce", "predict", "convert", "tables", "example:"))


def test_the_line_of_data_names_its_verbs(capsys):
    _, out, _ = run(capsys, "data", "--help")
    verbs = re.findall(r"^    (\w+)(?: |$)", out, re.MULTILINE)
    _, out, _ = run(capsys, "--help")
    line = out.partition("\n    data ")[2].partition("\n    reproduce")[0]
    assert len(verbs) == 7 and all(verb in line for verb in verbs), verbs


def test_no_help_and_no_list_imports_tensorflow():
    code = """
        import argparse, sys
        from benchmarks import __main__ as benchmarks
        from keras_fracture import cli

        def verbs(parser, names=()):
            yield names
            for action in parser._actions:
                if isinstance(action, argparse._SubParsersAction):
                    for name, verb in action.choices.items():
                        yield from verbs(verb, (*names, name))

        helps = [
            (program, (*names, "--help"))
            for program in (benchmarks, cli)
            for names in verbs(program.build_parser())
        ]
        for program, arguments in (*helps, (cli, ("data", "list"))):
            try:
                program.main(list(arguments))
            except SystemExit as stop:
                assert stop.code == 0, arguments
            assert not {"tensorflow", "keras", "torch"} & set(sys.modules), arguments
        print(len(helps))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert int(shown.splitlines()[-1]) > 15 and "embedded, drawn by code" in shown


@pytest.mark.parametrize(
    "arguments", [["reproduce", "--help"], ["data", "audit", "--help"], ["convert", "--help"]]
)
def test_every_help_has_an_example(capsys, arguments):
    code, out, _ = run(capsys, *arguments)
    assert code == 0 and "example: keras-fracture" in out


def test_data_list_says_what_is_there_and_what_to_fetch(capsys, kaggle):
    code, out, _ = run(capsys, "data", "list", "--data-dir", kaggle.parent)
    assert code == 0
    assert str(kaggle) in out and "figshare article 22363012" in out and "embedded" in out


def test_prepare_and_audit_of_a_real_layout(capsys, kaggle, tmp_path):
    code, out, _ = run(capsys, "data", "prepare", "kaggle_fracture", "--data-dir", kaggle.parent)
    assert code == 0 and "train" in out
    code, out, _ = run(
        capsys, "data", "audit", "kaggle_fracture", "--data-dir", kaggle.parent, "--out", tmp_path / "audit"
    )
    assert code == 0 and "named sources" in out
    report = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert report["images"] == len(list(kaggle.rglob("*.jpg")))


def test_wrong_names_are_one_line(capsys, tmp_path):
    fails(capsys, "No such data set", "data", "prepare", "mimic")
    fails(capsys, "No such data set", "data", "audit", "mimic", "--out", tmp_path / "a")
    fails(capsys, "No such split policy", "data", "prepare", "phantom", "--policy", "lucky")
    fails(capsys, "no split policy of that name", "data", "prepare", "phantom", "--policy", "official")
    fails(capsys, "No such paper", "reproduce", "mura_net")
    fails(capsys, "No such profile", "reproduce", "ibrahim_gan", "--profile", "huge", "--out", tmp_path / "r")
    fails(capsys, "No such data set", "reproduce", "ibrahim_gan", "--data", "mimic", "--out", tmp_path / "r")
    fails(capsys, "is not in", "data", "prepare", "btxrd", "--data-dir", tmp_path)
    fails(capsys, "Only fracatlas", "data", "prepare", "btxrd", "--download")
    fails(capsys, "must be three numbers", "data", "prepare", "phantom", "--shares", "1", "1", "1")


def test_a_wrong_layout_is_one_line_and_leaves_nothing(capsys, kaggle, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_FRACTURE_CACHE", str(tmp_path / "cache"))
    (kaggle / "train" / "fractured").rename(kaggle / "train" / "broken")
    fails(
        capsys, "layout must be the published one", "data", "prepare", "kaggle_fracture", "--data-dir", kaggle
    )
    assert not list((tmp_path / "cache").rglob("*.tfrecord*"))


def test_an_empty_class_is_one_line(capsys, kaggle):
    for path in (kaggle / "val" / "fractured").iterdir():
        path.unlink()
    fails(capsys, "No images", "data", "prepare", "kaggle_fracture", "--data-dir", kaggle)


def test_unreadable_files_are_named_and_left_out(capsys, caplog, kaggle):
    bad = [kaggle / "train" / "fractured" / name for name in ("text.jpg", "empty.jpg")]
    bad[0].write_text("this is no image")
    bad[1].write_bytes(b"")
    whole = len(list(kaggle.rglob("*.jpg"))) - 2
    code, out, _ = run(capsys, "data", "prepare", "kaggle_fracture", "--data-dir", kaggle)
    assert code == 0
    assert all(f"left out: {path}" in caplog.text for path in bad)
    assert sum(int(line.split()[1]) for line in out.splitlines() if line.endswith("images")) == whole


def test_sixteen_bit_and_cmyk_images_work(capsys, caplog, kaggle):
    from PIL import Image

    levels = np.tile(np.arange(48, dtype=np.uint16) * 1300, (48, 1))
    cv2.imwrite(str(kaggle / "train" / "fractured" / "sixteen.png"), levels)
    Image.fromarray((levels // 257).astype(np.uint8)).convert("RGB").convert("CMYK").save(
        kaggle / "train" / "fractured" / "cmyk.jpg"
    )
    whole = len([*kaggle.rglob("*.jpg"), *kaggle.rglob("*.png")])
    code, out, _ = run(
        capsys, "data", "prepare", "kaggle_fracture", "--data-dir", kaggle, "--policy", "paper"
    )
    assert code == 0 and "left out" not in caplog.text
    assert sum(int(line.split()[1]) for line in out.splitlines() if line.endswith("images")) == whole


def test_an_output_folder_that_cannot_be_written_is_one_line(capsys, kaggle, tmp_path):
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / "out"
    fails(capsys, "cannot be written", "data", "audit", "kaggle_fracture", "--data-dir", kaggle, "--out", out)
    fails(capsys, "cannot be written", "reproduce", "ibrahim_gan", "--profile", "smoke", "--out", out)


def test_a_full_disk_is_one_line_and_leaves_nothing(capsys, kaggle, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.Path, "write_bytes", full)
    monkeypatch.setattr(files.Path, "write_text", full)
    out = tmp_path / "audit"
    fails(capsys, "No space left", "data", "audit", "kaggle_fracture", "--data-dir", kaggle, "--out", out)
    assert not out.exists() or not list(out.iterdir())


def test_nobody_reading_on_is_no_traceback(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "keras_fracture.cli", "data", "list"]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_the_papers_on_offer_are_named_in_help(capsys):
    _, out, _ = run(capsys, "reproduce", "--help")
    assert len(papers.names()) == 5 and all(key in out for key in papers.names())


def test_convert_carries_weights_there_and_back(capsys, tmp_path):
    pytest.importorskip("torch")
    from keras_fracture import models

    model = models.create("compact_cnn")
    model.save_weights(tmp_path / "a.weights.h5")
    for source, target in (("a.weights.h5", "b.safetensors"), ("b.safetensors", "c.weights.h5")):
        code, *_ = run(
            capsys, "convert", tmp_path / source, "--model", "compact_cnn", "--to", tmp_path / target
        )
        assert code == 0
    back = models.create("compact_cnn")
    back.load_weights(tmp_path / "c.weights.h5")
    for one, other in zip(model.get_weights(), back.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    fails(
        capsys,
        "Does not fit",
        "convert",
        tmp_path / "a.weights.h5",
        "--model",
        "resnet18",
        "--to",
        tmp_path / "d.pth",
    )
