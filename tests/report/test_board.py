"""The board: who may stand on it, and that what they write of themselves stays words."""

import html
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from markdown import Markdown
from markdown.extensions.tables import TableExtension
from sklearn.metrics import roc_auc_score

from keras_fracture.data import catalogue
from keras_fracture.errors import OutputError
from keras_fracture.papers import tables
from keras_fracture.report import board

CARD = {
    "who": "A. Doe",
    "code": "https://example.org/a_b",
    "training_data": "its train split",
    "pretrained": "ImageNet",
}


def entry(auc=0.8, **changes):
    score = {"value": auc, "low": auc - 0.1, "high": auc + 0.1}
    metrics = dict.fromkeys(("auc", "accuracy", "average_precision", "sensitivity_at_90"), score)
    content = {
        "data": "phantom", "split_policy": "grouped", "split_digest": "a" * 64, "images": 24, "findings": 12,
        "seeds": 3, "threshold": 0.5, "date": "2026-12-02", "metrics": metrics, "card": CARD,
        "differences": {"ours": {"auc": {"value": 0.01, "low": -0.02, "high": 0.04}}},
    }  # fmt: skip
    return content | changes


def test_one_table_a_split_best_first(tmp_path):
    for name, auc in (("middle", 0.8), ("best", 0.9), ("worst", 0.6)):
        board.submit(tmp_path, name, entry(auc), "filename,probability\n")
    board.submit(tmp_path, "elsewhere", entry(split_digest="b" * 64, split_policy="paper"), "")
    text = board.table(tmp_path)
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["## phantom, grouped split", "## phantom, paper split"]
    rows = [line.split(" | ")[0].lstrip("| ") for line in text.splitlines() if line.startswith("| ")]
    assert rows == ["entry", "---", "best", "middle", "worst", "entry", "---", "elsewhere"]
    assert board.escaped("saved_models/a_b _c_") == "saved_models/a_b &#95;c&#95;"
    row = next(line for line in text.splitlines() if line.startswith("| best"))
    assert "| 0.900 (0.800 to 1.000) |" in row and "| ours: +0.010 (-0.020 to +0.040) | 3 |" in row
    assert "<https://example.org/a_b>" in row
    board.submit(tmp_path, "averaged", entry(0.7, seeds=1, ensemble_of=3), "")
    assert "| 1, the mean of 3 | its train split |" in board.table(tmp_path)
    assert (tmp_path / "best.csv").read_text() == "filename,probability\n"


def test_the_page_follows_the_entries(tmp_path):
    page = tmp_path / "board.md"
    page.write_text("<!-- table board -->\n<!-- end -->\n")
    assert tables.update(page, tmp_path) is False and "No entry yet" in page.read_text()
    board.submit(tmp_path / "board", "best", entry(), "")
    with pytest.raises(OutputError, match="make tables"):
        tables.update(page, tmp_path, check=True)
    tables.update(page, tmp_path)
    assert "| best | A. Doe |" in page.read_text() and tables.update(page, tmp_path, check=True)


@pytest.mark.parametrize(
    "words",
    [
        "<script>alert(1)</script>",
        "a | b",
        "[here](javascript:alert(1))",
        "![x](http://x/y.png)",
        "`code` *bold* __bold__ ~~gone~~",
        "&lt;img src=x onerror=alert(1)&gt;",
        "<!-- end -->",
        "https://example.org/<b>",
    ],
)
def test_markup_in_a_card_stays_words(tmp_path, words):
    board.submit(tmp_path, "one", entry(card=dict.fromkeys(CARD, words)), "")
    text = board.table(tmp_path)
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 3
    assert "<!--" not in text
    page = Markdown(extensions=[TableExtension()]).convert(text)
    row = page[page.index("<tbody>") :]
    assert row.count("<td>") == 12 and not any(
        tag in row for tag in ("<script", "<a ", "<img", "<em", "<strong", "<b>")
    )
    assert html.unescape(row).count(words) == 4


ENTRIES = board.read(Path(__file__).parents[2] / "results" / "board")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
def test_recorded_numbers_are_those_of_the_recorded_predictions(entry):
    rows = pd.read_csv(Path(__file__).parents[2] / "results" / "board" / f"{entry['name']}.csv")
    auc = [roc_auc_score(one["label"], one["probability"]) for _, one in rows.groupby("seed")]
    assert entry["metrics"]["auc"]["value"] == pytest.approx(np.mean(auc), abs=1e-12)
    assert len(auc) == entry["seeds"] and len(rows) == entry["images"] * entry["seeds"]
    published = catalogue.layout(entry["data"]).DIGESTS
    assert published[entry["split_policy"]] == entry["split_digest"]


@pytest.mark.parametrize("field", board.CARD)
@pytest.mark.parametrize("words", ["", " ", None, "\x1b[31mred", "two\nlines", "x" * 301, "\u202egnp.exe"])
def test_a_card_that_cannot_be_printed_is_refused(tmp_path, field, words):
    with pytest.raises(OutputError, match=r"Received: ") as raised:
        board.submit(tmp_path, "one", entry(card=CARD | {field: words}), "")
    assert str(raised.value).isprintable() and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "a\n"])
def test_a_name_that_is_no_file_is_refused(tmp_path, name):
    with pytest.raises(OutputError, match="A name on the board"):
        board.submit(tmp_path, name, entry(), "")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.pop("card"),
        lambda content: content.update(split_digest="`x`"),
        lambda content: content["metrics"].pop("auc"),
        lambda content: content.update(seeds="<b>"),
        lambda content: content.update(ensemble_of="<b>"),
        lambda content: content["card"].update(who="\x1b[2J"),
        lambda content: content.update(threshold="low"),
    ],
)
def test_an_entry_that_was_edited_by_hand_is_checked(tmp_path, spoil):
    path = board.submit(tmp_path, "one", entry(), "")
    content = json.loads(path.read_text())
    spoil(content)
    path.write_text(json.dumps(content))
    with pytest.raises(OutputError):
        board.read(tmp_path)
