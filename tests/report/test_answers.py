import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from keras_fracture.data import decoding, phantom
from keras_fracture.report import answers
from keras_fracture.report.style import HEAT

NAMES = ["a/hand.png", 'b/<img src=x onerror="alert(1)">$x$.png', "c/f\x1b[31moot.png"]


@pytest.fixture(scope="module")
def table():
    threshold = [0.3] * 3
    verdict = ["no finding", "finding", "no finding"]
    known = pd.DataFrame({"file": NAMES, "probability": [0.2, 0.9, 0.01]})
    # A class may be called as a column is.
    return known.assign(threshold=threshold, verdict=verdict).join(
        pd.DataFrame({"<benign>": [0.1] * 3, "file": [0.1] * 3}), rsuffix="?"
    ).rename(columns={"file?": "file"})  # fmt: skip


def explained(strongest=0.8):
    """Three images: an effect below the floor, two squares of which one is half as strong, and none."""
    images = [record["image"] for record in phantom.records(seed=1, sources=4, size=64)[:3]]
    effects = np.zeros((3, 64, 64), np.float32)
    effects[0] = answers.FLOOR - 0.001
    effects[1, :20, :20], effects[1, -20:, -20:] = strongest, strongest / 2
    yield from zip(images, effects, strict=True)


@pytest.fixture(scope="module")
def written(tmp_path_factory, table):
    folder = tmp_path_factory.mktemp("answers")
    assert (
        answers.write(folder, table, explained(), "gradcam", "model & threshold") == folder / "answers.html"
    )
    return folder


def cards(folder):
    """The page's images by their order: the plain half and the coloured one, float."""
    page = (folder / "answers.html").read_text()
    for data in re.findall(r'src="data:image/jpeg;base64,([^"]*)"', page):
        pair = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), float)
        yield pair[:, :64], pair[:, 68:]


def test_each_image_is_there_and_says_what_it_is(written):
    names = sorted(path.name for path in written.iterdir())
    assert len(names) == 5 and names[-2:] == ["answers.html", "contact-sheet.png"]
    with Image.open(written / names[0]) as overlay:
        marks = {name: overlay.text[name] for name in ("source", "heat", "not_for_clinical_use")}
    assert marks == {"source": "hand.png", "heat": "gradcam", "not_for_clinical_use": "true"}


def test_all_images_have_one_scale_and_no_evidence_has_no_colour(written):
    strong, below, none = cards(written)  # the highest probability first
    for plain, hot in (below, none):
        assert np.abs(plain - hot).max() < 40 and np.abs(hot - hot.mean(2, keepdims=True)).max() < 12, "grey"
    plain, hot = strong
    for square, place in ((np.s_[4:16, 4:16], 1.0), (np.s_[-16:-4, -16:-4], 0.5)):
        opacity = 0.7 * place
        expected = (1 - opacity) * plain[square] + opacity * 255 * np.array(HEAT(place)[:3])
        assert np.abs(hot[square].mean((0, 1)) - expected.mean((0, 1))).max() < 6
    assert np.abs(hot[25:40, 25:40] - plain[25:40, 25:40]).mean() < 4


def test_small_effects_do_not_glow(tmp_path, table):
    answers.write(tmp_path, table, explained(strongest=0.06), "occlusion", "model")
    (plain, hot), *_ = cards(tmp_path)
    place = 0.06 / 0.25
    expected = (1 - 0.7 * place) * plain + 0.7 * place * 255 * np.array(HEAT(place)[:3])
    square = np.s_[4:16, 4:16]
    assert np.abs(hot[square].mean((0, 1)) - expected[square].mean((0, 1))).max() < 6
    assert np.abs(hot[-16:, -16:] - plain[-16:, -16:]).mean() < 4, "below the floor"
    assert "Occlusion: by how much" in (tmp_path / "answers.html").read_text()


class Read(HTMLParser):
    """Tags, cells, and what would be fetched."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.cells, self.sources, self._cell = [], [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._cell = tag in ("td", "th") or (self._cell and tag == "a")
        if self._cell and tag != "a":
            self.cells.append("")
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self._cell:
            self.cells[-1] += data


def test_the_page_needs_nothing_else_and_names_are_words(written):
    text = (written / "answers.html").read_text()
    page = Read(text)
    assert page.cells[:6] == ["file", "probability", "threshold", "verdict", "<benign>", "file"]
    assert page.cells[12:18] == [NAMES[1], "0.9000", "0.3000", "finding", "0.1000", "0.1000"]
    assert page.cells[18] == r"c/f\x1b[31moot.png"
    assert page.tags.count("img") == 3 and "script" not in page.tags
    assert all(source.startswith(("data:image/jpeg;base64,", "#image-")) for source in page.sources)
    assert (
        "default-src 'none'" in text and "Not for clinical use." in text and "model &amp; threshold" in text
    )
    assert "The model sees a finding in 1 of 3 images" in text


def test_of_many_images_the_most_probable_are_shown(tmp_path, table, monkeypatch):
    monkeypatch.setattr(answers, "_ON_PAGE", 1)
    monkeypatch.setattr(answers, "_ON_SHEET", 2)
    answers.write(tmp_path, table, explained(), "gradcam", "model")
    text = (tmp_path / "answers.html").read_text()
    assert Read(text).tags.count("tr") == 4 and re.findall('figure id="([^"]*)"', text) == ["image-1"]
    assert "The 1 of 3 images in which a finding is most probable" in text
    assert len(list(tmp_path.glob("0*.png"))) == 3


def test_overlays_of_an_earlier_call_do_not_pass_for_answers(tmp_path, table):
    answers.write(tmp_path, table, explained(), "gradcam", "model")
    own = [tmp_path / name for name in ("0007-own.png", "1234-notes.png")]
    Image.new("L", (4, 4)).save(own[0])
    own[1].write_bytes(b"no image")
    answers.write(tmp_path, table[1:2], list(explained())[1:2], "gradcam", "model")
    left = sorted(path.name for path in tmp_path.glob("[0-9]*.png"))
    assert left[1:] == [path.name for path in own] and left[0].startswith("0000-") and "img" in left[0]


def test_the_sheet_shows_the_most_probable_finding_first(written):
    sheet = decoding.decode((written / "contact-sheet.png").read_bytes()).image
    colour = np.asarray(Image.open(written / "contact-sheet.png").convert("RGB"), int)
    hot = np.ptp(colour, axis=2) > 60
    assert sheet.shape[0] < sheet.shape[1]
    upper = hot[: 2 * len(hot) // 3]  # the colour bar is below
    assert upper[:, : upper.shape[1] // 3].sum() > 200 and not upper[:, upper.shape[1] // 3 + 10 :].any()
