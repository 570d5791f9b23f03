"""A report as one HTML file that needs no other file and no network."""

import base64
import re
from pathlib import Path
from xml.etree import ElementTree

from markdown import Markdown
from markdown.extensions.fenced_code import FencedCodeExtension
from markdown.extensions.tables import TableExtension
from markdown.treeprocessors import Treeprocessor

from keras_fracture import files

_KINDS = {".png": "image/png", ".gif": "image/gif"}
_NUMBER = re.compile(r"(Figure \d+\.)\s*(.*)", re.DOTALL)
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light; }}
body {{ max-width: 46rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; background: #fff; color: #222;
  font: 1.05rem/1.6 Georgia, "Times New Roman", serif; overflow-wrap: break-word; }}
h1, h2, h3, h4 {{ font-family: system-ui, sans-serif; line-height: 1.25; margin: 2.2rem 0 .8rem; }}
h1 {{ font-size: 1.7rem; margin-top: .5rem; }}
h2 {{ font-size: 1.3rem; border-bottom: 1px solid #ddd; padding-bottom: .25rem; }}
h3 {{ font-size: 1.1rem; }}
code {{ font-size: .87em; background: #f3f3f3; padding: .1em .25em; overflow-wrap: anywhere; }}
pre {{ overflow-x: auto; background: #f3f3f3; padding: .8rem; }}
.table {{ overflow-x: auto; margin: 1.2rem 0; }}
table {{ border-collapse: collapse; font: .82rem/1.4 system-ui, sans-serif; font-variant-numeric: tabular-nums;
  border-top: 2px solid #222; border-bottom: 2px solid #222; }}
th, td {{ padding: .35rem .7rem; text-align: left; vertical-align: top; overflow-wrap: normal; }}
th {{ border-bottom: 1px solid #222; }}
td {{ border-top: 1px solid #eee; min-width: 4.5rem; }}
figure {{ margin: 1.8rem 0; text-align: center; }}
img {{ max-width: 100%; height: auto; }}
figcaption {{ font-size: .9rem; line-height: 1.45; color: #444; text-align: left; margin-top: .4rem; }}
</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def write_html(folder):
    """Writes `report.html` beside `report.md`: the same text, with the images inside.

    HTML in the text stays text, links become words, and of files only PNG and GIF images below `folder` are read;
    where another is named, or one that is missing, its caption says that it is not there.

    Args:
        folder: A run folder.

    Returns:
        The path; None, and nothing is written, where there is no `report.md`.

    Raises:
        OutputError: The folder cannot be written.
    """
    folder = Path(folder)
    source = folder / "report.md"
    if not source.is_file():
        return None
    body = _converter(folder).convert(source.read_text(encoding="utf-8"))
    heading = re.search(r"<h\d>(.*?)</h\d>", body, re.DOTALL)
    title = re.sub(r"<[^>]*>", "", heading[1]) if heading else "Report"
    body = body.replace("<table>", '<div class="table" tabindex="0">\n<table>')
    body = body.replace("</table>", "</table>\n</div>")
    return files.write_text(folder / "report.html", _PAGE.format(title=title, body=body))


def _converter(folder):
    converter = Markdown(extensions=[TableExtension(), FencedCodeExtension()], output_format="html")
    # Without these two, `<` is a character like others.
    converter.preprocessors.deregister("html_block")
    converter.inlinePatterns.deregister("html")
    converter.treeprocessors.register(_SelfContained(converter, folder), "self_contained", 5)
    return converter


class _SelfContained(Treeprocessor):
    """Puts images inside, each that stands alone as a figure with its caption, and takes links away."""

    def __init__(self, converter, folder):
        super().__init__(converter)
        self.folder = folder

    def run(self, root):
        for link in list(root.iter("a")):
            link.tag, link.attrib = "span", {}
        for image in list(root.iter("img")):
            _embed(image, self.folder)
        for paragraph in root.iter("p"):
            if len(paragraph) == 1 and paragraph[0].tag == "img" and not _text_beside(paragraph):
                _make_figure(paragraph)


def _embed(image, folder):
    """Puts the file that an `img` names inside it; one that may not be read becomes words."""
    name, words = image.get("src", ""), image.get("alt", "")
    data = _data_uri(folder, name)
    if data is None:
        image.tag, image.attrib = "em", {}
        image.text = f"{words} (no such image in this folder: {name})"
    else:
        image.attrib = {"src": data, "alt": words}


def _data_uri(folder, name):
    """An image file below a folder as a `data:` URI; None of what is not there, or is elsewhere."""
    try:
        path = (folder / name).resolve()
        inside = path.is_relative_to(folder.resolve()) and path.suffix in _KINDS and path.is_file()
    except (OSError, ValueError):  # a name too long, or with a null byte
        return None
    if not inside:
        return None
    return f"data:{_KINDS[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _text_beside(paragraph):
    return ((paragraph.text or "") + (paragraph[0].tail or "")).strip()


def _make_figure(paragraph):
    caption = ElementTree.SubElement(paragraph, "figcaption")
    words = paragraph[0].get("alt")
    numbered = _NUMBER.fullmatch(words)
    if numbered:
        number = ElementTree.SubElement(caption, "strong")
        number.text, number.tail = numbered[1], " " + numbered[2]
    else:
        caption.text = words
    paragraph.tag = "figure"
