import base64
import os
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_fracture.data import sheets
from keras_fracture.report.html import write_html
from keras_fracture.report.markdown import Figures, markdown


class Page(HTMLParser):
    """The tags of a page with their attributes, and the text inside each kind of tag."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.texts, self.open = [], {}, []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "meta", "br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, "tags are closed in order"

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts[tag] = self.texts.get(tag, "") + data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture
def folder(tmp_path):
    """A run folder with two images, and a secret beside it."""
    run = tmp_path / "run"
    sheets.write_png(np.zeros((4, 4, 1), np.uint8), run / "a.png")
    sheets.write_png(np.full((4, 4, 1), 9, np.uint8), run / "part" / "b.png")
    sheets.write_png(np.full((4, 4, 1), 99, np.uint8), tmp_path / "secret.png")
    (run / "settings.json").write_text("secret")
    return run


def page_of(folder, *lines):
    (folder / "report.md").write_text("\n".join(lines), encoding="utf-8")
    return Page(write_html(folder))


def assert_self_contained(page):
    for _, attrs in page.tags:
        assert "href" not in attrs and attrs.get("src", "data:image/").startswith("data:image/")
        assert not [name for name in attrs if name.startswith("on")]
    assert not {"script", "link", "iframe", "object", "a"} & {tag for tag, _ in page.tags}
    assert "url(" not in page.texts["style"] and "@import" not in page.texts["style"]


def test_a_report_becomes_one_page_with_its_images_inside(folder):
    figures = Figures()
    page = page_of(
        folder,
        "# Do *they* help & how?\n",
        "Text with `code`.\n",
        markdown(["arm", "AUC"], [["original", "0.8"]]),
        figures.add("a.png", "Losses."),
        figures.add("part/b.png", "Images [real]."),
        "```",
        "keras-fracture reproduce",
        "```",
        "[link](https://example.org) <https://example.org>",
    )
    assert_self_contained(page)
    assert page.all("html") == [{"lang": "en"}] and page.texts["title"] == "Do they help & how?"
    assert (
        len(page.all("figure")) == 2
        and page.texts["figcaption"] == "Figure 1. Losses.Figure 2. Images [real]."
    )
    assert page.texts["td"] == "original0.8" and "reproduce" in page.texts["pre"]
    for image, name in zip(page.all("img"), ("a.png", "part/b.png"), strict=True):
        kind, _, data = image["src"].partition(",")
        assert kind == "data:image/png;base64" and base64.b64decode(data) == (folder / name).read_bytes()
    assert [image["alt"] for image in page.all("img")] == ["Figure 1. Losses.", "Figure 2. Images [real]."]


def test_an_animation_is_embedded_as_such(folder):
    (folder / "samples.gif").write_bytes(b"GIF89a")
    page = page_of(folder, "![Samples](samples.gif)")
    assert page.all("img")[0]["src"] == "data:image/gif;base64," + base64.b64encode(b"GIF89a").decode()
    assert page.texts["figcaption"] == "Samples" and page.texts["title"] == "Report"


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png", "part/../../secret.png", "missing.png", "part", "settings.json", "link.png", "", "a.png\x00",
        "https://example.org/a.png", "//example.org/a.png", "data:image/png;base64,AAAA", "x" * 5000 + ".png",
        "%2e%2e/secret.png",
    ],
)  # fmt: skip
def test_only_images_of_the_folder_are_read(folder, name):
    os.symlink(folder.parent / "secret.png", folder / "link.png")
    files = folder.parent / "secret.png", folder / "settings.json"
    secrets = [base64.b64encode(path.read_bytes()).decode() for path in files]
    for given_name in (name, f"<{name}>"):
        page = page_of(folder, f"![Figure 1. Words]({given_name})")
        if name != "a.png\x00":  # Markdown drops such characters
            assert not page.all("img") and "Words" in page.texts["p"]
        assert_self_contained(page)
        assert not [secret for secret in secrets if secret in (folder / "report.html").read_text()]


def test_an_absolute_path_is_read_no_more_than_another(folder):
    page = page_of(folder, f"![Words]({folder.parent / 'secret.png'})")
    assert not page.all("img") and "no such image" in page.texts["p"]


HOSTILE = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "</title><script>", '"><svg onload=x>', "<!-- x",
    "<div>\n<script>x</script>\n</div>", "[x](javascript:alert(1))", "<javascript:alert(1)>", "&lt;script&gt;",
    "![x](a.png 'y\" onload=z')", "[r]: javascript:x", "![x][r]", "<a href=x>", "{ onclick=x }", "\x02klzzwxh:0001\x03",
)  # fmt: skip


@pytest.mark.parametrize("words", HOSTILE)
def test_words_of_a_report_are_never_html(folder, words):
    figures = Figures()
    page = page_of(
        folder, f"# {words}\n", words + "\n", f"`{words}`\n", markdown(["a"], [[words]]), figures.add("a.png", words)
    )  # fmt: skip
    assert_self_contained(page)
    assert not page.all("svg")
    assert {name for _, attrs in page.tags for name in attrs} <= {
        "lang", "charset", "name", "content", "http-equiv", "class", "tabindex", "src", "alt",
    }  # fmt: skip
    if "<script>" in words:
        assert page.texts["main"].count("<script>") >= 4, "in heading, paragraph, code, cell and caption"


PARTS = (*HOSTILE, "`", "```", "*", "_", "|", "\n", "# ", "- ", "<", ">", "![", "](", ")", "a.png")


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.lists(st.sampled_from(PARTS), max_size=12))
def test_nor_are_their_combinations(tmp_path_factory, parts):
    page = page_of(tmp_path_factory.getbasetemp(), "# Title\n\n", "".join(parts))
    assert_self_contained(page)


def test_captions_may_hold_any_words(folder):
    captions = ["a]b(c)", "[x](y)", "`code", "back\\slash", "x_y_z *b*", '"quoted" & <b>']
    figures = Figures()
    page = page_of(folder, *(figures.add("a.png", caption) for caption in captions))
    assert [image["alt"] for image in page.all("img")] == [
        f"Figure {number}. {caption}" for number, caption in enumerate(captions, 1)
    ]


def test_a_folder_without_a_report_stays_as_it_is(tmp_path):
    assert write_html(tmp_path) is None and not list(tmp_path.iterdir())
