import hashlib
import os
import time

import cv2
import numpy as np
import pandas as pd
import pytest

from keras_fracture.data import decoding, phantom, scan


@pytest.fixture(scope="module")
def grey():
    return phantom.records(sources=2, size=128)[0]["image"][..., 0]


def _bits(text):
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8)).reshape(16, 16)


def _distance(one, other):
    return int((_bits(scan.difference_hash(one)) != _bits(scan.difference_hash(other))).sum())


def test_hash_bits_say_where_a_cell_is_brighter_than_its_left_neighbour():
    cells = np.random.default_rng(0).permutation(16 * 17).reshape(16, 17) % 251
    image = np.kron(cells, np.ones((4, 4))).astype(np.uint8)
    np.testing.assert_array_equal(_bits(scan.difference_hash(image)), cells[:, 1:] > cells[:, :-1])


def test_hash_is_robust_to_scale_and_compression_but_not_to_mirroring(grey):
    larger = cv2.resize(grey, (256, 256), interpolation=cv2.INTER_CUBIC)
    packed = cv2.imdecode(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 70])[1], 0)
    assert _distance(grey, larger) <= 10 and _distance(grey, packed) <= 30
    assert _distance(grey, np.ascontiguousarray(grey[:, ::-1])) > 60


def test_measures_follow_their_definition():
    image = np.zeros((64, 96), np.uint8)
    image[16:48, 24:72] = 200
    data = decoding.encode_png(image)
    row = scan.measure(data)
    assert row["file_digest"] == hashlib.sha1(data).hexdigest() and row["file_size"] == len(data)
    assert (row["width"], row["height"], row["truncated"], row["error"]) == (96, 64, False, "")
    assert row["mean"] == 50 and row["deviation"] == pytest.approx(200 * (0.25 * 0.75) ** 0.5)
    assert (row["darkest"], row["brightest"], row["border"], row["corner"]) == (0, 200, 0, 0)
    assert row["bytes_per_pixel"] == len(data) / image.size
    assert row["black_share"] == pytest.approx(0.75, abs=0.01) and row["white_share"] == 0
    assert set(scan.SCALARS) <= set(row)


def test_equal_pixels_have_one_digest_in_any_file(grey):
    png, bmp = decoding.encode_png(grey), cv2.imencode(".bmp", grey)[1].tobytes()
    one, other = scan.measure(png), scan.measure(bmp)
    assert one["digest"] == other["digest"] and one["file_digest"] != other["file_digest"]
    assert scan.measure(decoding.encode_png(grey.reshape(64, 256)))["digest"] != one["digest"]


def test_blur_lowers_sharpness_whatever_the_size(grey):
    sharp, soft = (scan.measure(decoding.encode_png(p)) for p in (grey, cv2.GaussianBlur(grey, (0, 0), 2)))
    assert soft["sharpness"] < 0.5 * sharp["sharpness"] and soft["fine_detail"] < 0.6 * sharp["fine_detail"]


def test_unreadable_file_is_a_row_with_an_error():
    row = scan.measure(b"no image", "a.jpg")
    assert row["error"].startswith("a.jpg") and row["digest"] == row["hash"] == ""
    assert np.isnan(row["mean"]) and row["file_size"] == 8


@pytest.fixture
def folder(tmp_path, monkeypatch, grey):
    monkeypatch.setenv("KERAS_FRACTURE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.png").write_bytes(decoding.encode_png(grey))
    (tmp_path / "b.png").write_bytes(decoding.encode_png(255 - grey)[:-30])
    (tmp_path / "c.png").write_bytes(b"no, image\nat all")
    return tmp_path


def _paths(folder):
    return [folder / name for name in ("a.png", "b.png", "c.png")]


def test_remembered_scan_equals_the_first_one(folder, monkeypatch):
    monkeypatch.setattr(scan, "_FRAME", 2)
    first = scan.scan("set", _paths(folder), progress=False)
    monkeypatch.setattr(scan, "measure", None)
    again = scan.scan("set", _paths(folder), progress=False)
    assert list(again) == list(first) and again["truncated"].tolist() == [False, True, False]
    for column in first:
        if column in scan.SCALARS:
            np.testing.assert_array_equal(again[column].astype(float), first[column].astype(float))
        else:
            assert again[column].tolist() == first[column].tolist(), column


@pytest.mark.parametrize(("count", "batch"), [(0, 16), (64_000, 16), (400_000, 100), (10**9, 256)])
def test_a_task_has_few_files_of_few_and_many_of_many(count, batch):
    assert scan.files_a_task(count) == batch


def test_a_table_of_frames_is_that_of_all_rows(folder, monkeypatch):
    paths = _paths(folder) * 3
    whole = scan.scan("set", paths, progress=False)
    monkeypatch.setattr(scan, "_FRAME", 2)
    monkeypatch.setenv("KERAS_FRACTURE_CACHE", str(folder / "another"))
    pd.testing.assert_frame_equal(scan.scan("set", paths, progress=False), whole)


def test_records_may_be_copied_with_their_times_and_images_may_not(folder):
    path, told = folder / "a.png", []
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    for _ in range(2):
        time.sleep(0.05)  # most kernels stamp changes by the tick
        os.utime(path, ns=times)
        told.append((scan.fingerprint([path], copied=True), scan.folder_fingerprint(folder)))
        told.append((scan.fingerprint([path]), scan.folder_fingerprint(folder, movable=False)))
    assert told[0] == told[2] and all(one != other for one, other in zip(told[1], told[3], strict=True))


def test_a_changed_file_is_scanned_again(folder, grey):
    first = scan.scan("set", _paths(folder), progress=False)
    path = folder / "a.png"
    path.write_bytes(decoding.encode_png(grey // 2))
    os.utime(path, ns=(1, 1))
    assert scan.scan("set", _paths(folder), progress=False)["mean"][0] < 0.6 * first["mean"][0]
