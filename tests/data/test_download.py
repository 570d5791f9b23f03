import hashlib
import io
import json
import stat
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from keras_fracture.data import download, fetching
from keras_fracture.data.datasets.fracatlas import layout
from keras_fracture.errors import DataError


def _zip(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _noise(count):
    return np.random.default_rng(0).bytes(count)


GOOD = _zip({"FracAtlas/dataset.csv": "image_id\n", "FracAtlas/images/a.jpg": _noise(5000)})


class Figshare(ThreadingHTTPServer):
    """A loopback figshare with one file; `cuts` are the lengths after which answers break off, in order."""

    def __init__(self, content, ranges=True, cuts=(), md5=None, listing=None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.ranges, self.cuts = content, ranges, list(cuts)
        self.asked = []
        self.base = f"http://127.0.0.1:{self.server_address[1]}"
        entry = {"name": "FracAtlas.zip", "size": len(content), "download_url": f"{self.base}/file"}
        entry["computed_md5"] = md5 or hashlib.md5(content).hexdigest()
        small = {"name": "readme.txt", "size": 3, "computed_md5": "", "download_url": "nowhere"}
        self.listing = [small, entry] if listing is None else listing
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def __exit__(self, *args):
        self.shutdown()
        super().__exit__(*args)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == f"/articles/{download.ARTICLE}/files":
            self._answer(200, json.dumps(self.server.listing).encode(), {})
            return
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        content, start = self.server.content, 0
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            self._answer(206, content[start:], headers)
        else:
            self._answer(200, content, {})

    def _answer(self, status, body, headers):
        self.send_response(status)
        for name, value in ({"Content-Length": len(body)} | headers).items():
            self.send_header(name, str(value))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.path == "/file" and self.server.cuts else None
        self.wfile.write(body[:cut])

    def log_message(self, *args):
        pass


def _check(root):
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()) == [
        "dataset.csv",
        "images/a.jpg",
    ]
    assert (root / "images" / "a.jpg").read_bytes() == _noise(5000)
    assert [path.name for path in root.parent.iterdir()] == [layout.FOLDER]


def test_downloads_checks_and_unpacks(tmp_path):
    with Figshare(GOOD) as server:
        root = download.download_fracatlas(tmp_path / "data", api=server.base)
        assert root == tmp_path / "data" / "FracAtlas" and server.asked == [None]
        _check(root)
        assert download.download_fracatlas(tmp_path / "data", api=server.base) == root
        assert len(server.asked) == 1


def test_archive_without_a_top_folder_gives_the_same_layout(tmp_path):
    content = _zip({"dataset.csv": "image_id\n", "images/a.jpg": _noise(5000)})
    with Figshare(content) as server:
        _check(download.download_fracatlas(tmp_path, api=server.base))


def test_goes_on_where_the_connection_was_cut(tmp_path):
    with Figshare(GOOD, cuts=[2000, 1000]) as server:
        _check(download.download_fracatlas(tmp_path, api=server.base))
        assert server.asked == [None, "bytes=2000-", "bytes=3000-"]


def test_goes_on_with_the_part_of_a_former_run(tmp_path):
    (tmp_path / "FracAtlas.zip.part").write_bytes(GOOD[:1234])
    with Figshare(GOOD) as server:
        _check(download.download_fracatlas(tmp_path, api=server.base))
        assert server.asked == ["bytes=1234-"]


def test_starts_anew_where_the_server_ignores_range(tmp_path):
    (tmp_path / "FracAtlas.zip.part").write_bytes(b"x" * 1234)
    with Figshare(GOOD, ranges=False) as server:
        _check(download.download_fracatlas(tmp_path, api=server.base))
        assert server.asked == ["bytes=1234-"]


def test_archive_that_is_already_there_is_not_fetched_again(tmp_path):
    (tmp_path / "FracAtlas.zip").write_bytes(GOOD)
    with Figshare(GOOD) as server:
        _check(download.download_fracatlas(tmp_path, api=server.base))
        assert server.asked == []


def test_gives_up_on_a_server_that_sends_nothing_and_keeps_the_part(tmp_path):
    with Figshare(GOOD, cuts=[2000, 0, 0, 0]) as server:
        with pytest.raises(DataError, match=r"stopped at 2,000 of .* run again to go on"):
            download.download_fracatlas(tmp_path, api=server.base)
        assert (tmp_path / "FracAtlas.zip.part").read_bytes() == GOOD[:2000]
        _check(download.download_fracatlas(tmp_path, api=server.base))


def test_wrong_checksum_deletes_what_came(tmp_path):
    with Figshare(GOOD, md5="0" * 32) as server:
        expected = rf"Expected: md5 {'0' * 32}.*Received: md5 {hashlib.md5(GOOD).hexdigest()}"
        with pytest.raises(DataError, match=expected):
            download.download_fracatlas(tmp_path, api=server.base)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../evil.txt", "FracAtlas/../../evil.txt", "/evil.txt", "..\\evil.txt"])
def test_member_that_leaves_the_folder_is_refused(tmp_path, name):
    content = _zip({"FracAtlas/dataset.csv": "image_id\n", name: "evil"})
    with Figshare(content) as server, pytest.raises(DataError, match=r"outside its folder.*evil"):
        download.download_fracatlas(tmp_path / "data", api=server.base)
    assert not list(tmp_path.rglob("*evil*")) and not (tmp_path / "data" / "FracAtlas").exists()


def test_copies_that_macos_packed_are_left_out(tmp_path):
    content = _zip(
        {
            "FracAtlas/dataset.csv": "image_id\n",
            "FracAtlas/images/a.jpg": _noise(50),
            "FracAtlas/images/._a.jpg": "macOS",
            "__MACOSX/FracAtlas/images/._a.jpg": "macOS",
        }
    )
    with Figshare(content) as server:
        root = download.download_fracatlas(tmp_path, api=server.base)
    assert sorted(path.name for path in root.rglob("*.*")) == ["a.jpg", "dataset.csv"]
    assert [path.name for path in tmp_path.iterdir()] == ["FracAtlas"]


def test_link_is_refused(tmp_path):
    link = zipfile.ZipInfo("FracAtlas/images")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    content = _zip({"FracAtlas/dataset.csv": "", link: "/etc"})
    with Figshare(content) as server, pytest.raises(DataError, match="outside its folder"):
        download.download_fracatlas(tmp_path, api=server.base)
    assert not (tmp_path / "FracAtlas").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [(_zip({"a.txt": "b"}), "no FracAtlas/dataset.csv"), (b"no zip", "cannot be unpacked")],
)
def test_archive_of_something_else_leaves_no_folder(tmp_path, content, words):
    with Figshare(content) as server, pytest.raises(DataError, match=words):
        download.download_fracatlas(tmp_path, api=server.base)
    assert [path.name for path in tmp_path.iterdir()] == ["FracAtlas.zip"]


@pytest.mark.parametrize("listing", [[], {"message": "gone"}, [{"name": "FracAtlas.zip"}]])
def test_listing_without_a_usable_zip_says_what_to_do(tmp_path, listing):
    with Figshare(GOOD, listing=listing) as server, pytest.raises(DataError, match="lists no zip"):
        download.download_fracatlas(tmp_path, api=server.base)


def test_a_listing_of_a_zip_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MAX_ARCHIVE", len(GOOD) - 1)
    with (
        Figshare(GOOD) as server,
        pytest.raises(DataError, match=rf"cannot be FracAtlas.*Received: {len(GOOD):,} bytes"),
    ):
        download.download_fracatlas(tmp_path, api=server.base)
    assert server.asked == [] and list(tmp_path.iterdir()) == []


def test_no_more_is_written_than_was_announced(tmp_path, monkeypatch):
    sizes, append = [], fetching._append

    def appended(url, part, size):
        append(url, part, size)
        sizes.append(part.stat().st_size)

    monkeypatch.setattr(fetching, "_append", appended)
    entry = {"name": "x.zip", "size": 1000, "computed_md5": "0" * 32}
    with Figshare(GOOD) as server:
        server.listing = [entry | {"download_url": f"{server.base}/file"}]
        with pytest.raises(DataError, match=r"Expected: md5 0+, 1,000 bytes. Received: .*, 1,001 bytes"):
            download.download_fracatlas(tmp_path, api=server.base)
    assert sizes == [1001] and list(tmp_path.iterdir()) == []


def test_no_network_says_where_to_put_it_by_hand(tmp_path):
    with Figshare(GOOD) as server:
        base = server.base
    with pytest.raises(DataError, match=rf"cannot be reached.*article 22363012.*{tmp_path}") as caught:
        download.download_fracatlas(tmp_path, api=base)
    assert "\n" not in str(caught.value)


def test_folder_that_cannot_be_made_is_a_data_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written to"):
        download.download_fracatlas(tmp_path / "file" / "data", api="http://127.0.0.1:9")


def test_a_set_in_a_renamed_folder_is_not_fetched_again(tmp_path):
    for mark in layout.HOLDS:
        (tmp_path / "renamed" / mark).mkdir(parents=True)
    assert download.download_fracatlas(tmp_path / "renamed", api="http://localhost:9") == tmp_path / "renamed"
