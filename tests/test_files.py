import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import filelock
import numpy as np
import pytest

from keras_fracture import files
from keras_fracture.data import decoding, sheets
from keras_fracture.errors import OutputError


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("._a.jpg", True), ("x/._a.jpg", True), ("__MACOSX/x/a.jpg", True), ("/data/__MACOSX/a.csv", True),
        ("a.jpg", False), (".a.jpg", False), ("._x/a.jpg", False), ("a._.jpg", False), ("", False),
    ],
)  # fmt: skip
def test_copies_that_macos_makes_are_told_by_their_names(name, hidden):
    assert files.is_hidden_copy(name) == hidden


def test_file_appears_whole_with_its_folder(tmp_path):
    path = tmp_path / "a" / "b" / "result.json"
    assert files.write_text(path, "grün\n") == path
    assert path.read_bytes() == "grün\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_former_file_stays_until_the_new_one_is_whole(tmp_path):
    path = files.write_text(tmp_path / "a.txt", "old")
    with files.writing(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old" and beside.parent == tmp_path and beside.suffix == ".txt"
    assert path.read_text() == "new"


def test_nothing_is_left_when_the_body_raises(tmp_path):
    path = files.write_text(tmp_path / "a.txt", "old")
    with pytest.raises(ZeroDivisionError), files.writing(path) as beside:
        beside.write_text("half")
        raise ZeroDivisionError
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"] and path.read_text() == "old"


def test_target_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "full").mkdir(parents=True)
    for path in (tmp_path / "file" / "a.txt", tmp_path / "folder"):
        with pytest.raises(OutputError, match=f"{path} cannot be written") as caught:
            files.write_text(path, "text")
        assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_full_disk_is_an_output_error_and_leaves_nothing(tmp_path):
    with pytest.raises(OutputError, match="No space left"), files.writing(tmp_path / "a.txt") as beside:
        beside.write_text("half")
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_folder_is_made_and_proven_writable(tmp_path):
    folder = files.folder(tmp_path / "a" / "b")
    assert folder.is_dir() and not list(folder.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        files.folder(tmp_path / "file")


def test_new_folder_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a" / "made"
    with files.new_folder(path) as beside:
        (beside / "1.txt").write_text("one")
        assert not path.exists() and beside.parent == path.parent
    assert [p.name for p in path.iterdir()] == ["1.txt"] and [p.name for p in path.parent.iterdir()] == [
        "made"
    ]
    with pytest.raises(OutputError, match=f"{path} exists already"), files.new_folder(path):
        pass
    with pytest.raises(OutputError, match="No space left"), files.new_folder(tmp_path / "b") as beside:
        (beside / "1.txt").write_text("half")
        raise OSError(28, "No space left on device")
    with pytest.raises(ZeroDivisionError), files.new_folder(tmp_path / "b"):
        raise ZeroDivisionError
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_is_an_output_error_whoever_says_it(tmp_path):
    said = "Can't write (errno = 28, error message = 'No space left on device')"  # h5py
    with (
        pytest.raises(OutputError, match=r"a.h5 cannot be written: No space left on device$"),
        files.writing(tmp_path / "a.h5"),
    ):
        raise RuntimeError(said)
    assert list(tmp_path.iterdir()) == []


def test_what_killed_processes_left_is_swept_and_nothing_else(tmp_path):
    kept = [tmp_path / name for name in ("a", ".hidden", "b/.12", "b/12-c", "b/c/.x-1")]
    gone = [tmp_path / name for name in (".12-a.txt", "b/.345-c/d/e", "b/c/.6-.7-f")]
    for path in (*kept, *gone):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    files.sweep(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


def test_a_lock_is_had_once_and_again_when_it_is_free(tmp_path):
    path = tmp_path / "made" / ".lock"
    with files.locked(path) as first, files.locked(path) as second:
        assert first and not second
        assert path.exists(), "the second has not removed the first's"
    assert not path.exists()
    path.touch()  # as a killed process leaves it
    with files.locked(path) as third:
        files.unlock(path)
        assert third and path.exists()
    path.touch()
    files.unlock(path)
    assert not path.exists()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"), files.locked(tmp_path / "file" / "lock"):
        pass


def test_one_who_waits_for_a_lock_gets_it_when_its_holder_has_gone(tmp_path):
    order, path = [], tmp_path / "lock"

    def wait():
        with files.locked(path, wait=True) as mine:
            order.append(("second", mine, path.exists()))

    other = threading.Thread(target=wait)
    with files.locked(path):
        other.start()
        other.join(0.2)
        order.append("first")
    other.join(10)
    assert order == ["first", ("second", True, True)] and not path.exists()


def test_where_there_are_no_locks_one_is_always_had_with_a_warning(tmp_path, monkeypatch, caplog):
    def acquire(self, *_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with files.locked(tmp_path / "lock") as mine:
        assert mine
    assert "no locks in" in caplog.text and "let no other process write there" in caplog.text


def test_tiles_lie_in_rows_with_a_gap():
    images = np.arange(1, 6, dtype=np.uint8)[:, None, None, None] * np.ones((5, 3, 4, 1), np.uint8)
    sheet = sheets.tile(images, columns=3)
    assert sheet.shape == (2 * 5 + 2, 3 * 6 + 2, 1)
    for index in range(5):
        top, left = 2 + index // 3 * 5, 2 + index % 3 * 6
        np.testing.assert_array_equal(sheet[top : top + 3, left : left + 4], images[index])
    assert (sheet == 255).sum() == sheet.size - 5 * 12
    assert sheets.tile(images).shape == sheet.shape


def test_grid_of_grey_and_of_colour_reads_back(tmp_path):
    rng = np.random.default_rng(0)
    for channels in (1, 3):
        images = rng.integers(0, 256, (4, 8, 8, channels), np.uint8)
        data = sheets.grid(images, tmp_path / "grid.png").read_bytes()
        grey = decoding.decode(data).image.astype(float)
        weights = [1.0] if channels == 1 else [0.299, 0.587, 0.114]
        np.testing.assert_allclose(grey, sheets.tile(images) @ np.array(weights), atol=1.01)


def test_contact_sheet_shows_each_file_and_marks_the_unreadable(tmp_path):
    (tmp_path / "a.png").write_bytes(decoding.encode_png(np.full((50, 50), 70, np.uint8)))
    (tmp_path / "b.png").write_bytes(b"nothing")
    rows = [("first", [tmp_path / "a.png", tmp_path / "b.png"]), ("second", [tmp_path / "a.png"])]
    path = sheets.contact_sheet(rows, tmp_path / "sheet.png", title="t", size=64)
    sheet = decoding.decode(path.read_bytes()).image
    assert sheet.shape == (34 + 2 * (26 + 66), 900)
    top = 34 + 26
    assert (sheet[top : top + 64, 2:66] == 70).all()
    assert (sheet[top : top + 64, 68:132] == 230).mean() > 0.8
    assert (sheet[top + 92 : top + 156, 2:66] == 70).all()


def test_threads_that_write_one_path_each_write_it_whole(tmp_path):
    path, inside = tmp_path / "one.txt", threading.Barrier(4)

    def write(letter):
        with files.writing(path) as beside:
            beside.write_text(letter * 1000)
            inside.wait(10)  # all are written before the first is renamed
            assert beside.read_text() == letter * 1000

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, "abcd"))
    assert path.read_text() in {letter * 1000 for letter in "abcd"}
    assert [one.name for one in tmp_path.iterdir()] == ["one.txt"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch, kind):
    done, sync, replace = [], os.fsync, Path.replace

    def fsync(handle):
        done.append(("sync", os.readlink(f"/proc/self/fd/{handle}")))
        sync(handle)

    def renamed(self, to):
        done.append(("rename", str(self)))
        return replace(self, to)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", renamed)
    if kind == "file":
        files.write_text(tmp_path / "x.txt", "text")
        names = ["x.txt"]
    else:
        with files.new_folder(tmp_path / "x") as folder:
            (folder / "inner").mkdir()
            (folder / "inner" / "y.txt").write_text("text")
        names = ["inner", "y.txt", "x"]
    before = done[: [what for what, _ in done].index("rename")]
    assert all(any(path.endswith(name) for _, path in before) for name in names)
    assert done[-1] == ("sync", str(tmp_path))


def test_what_settings_a_folder_is_of_is_known_until_all_is_written(tmp_path, monkeypatch):
    """A kill while images are flushed: whoever goes on with other settings would find images of no known ones."""

    def killed(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "_to_disk", killed)
    with pytest.raises(KeyboardInterrupt), files.unfinished_folder(tmp_path / "made") as (folder, parts):
        (folder / "0.png").write_bytes(b"an image")
        parts.write_text("settings")
    assert (tmp_path / "made.unfinished" / "parts.jsonl").read_text() == "settings"
