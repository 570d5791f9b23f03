"""What a model says of images, to be looked at: each beside its explanation, all on one sheet, and a page to scroll."""

import base64
import contextlib
import html
import io
import tempfile
from pathlib import Path

import cv2
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize, to_hex
from PIL import Image

from keras_fracture import files
from keras_fracture.errors import printable
from keras_fracture.report.figures import heated, save
from keras_fracture.report.style import HEAT, styled, subplots

FLOOR = 0.05  # effects on the probability below it are not coloured
BRIGHTEST = 0.25  # the least that the brightest colour stands for: small effects must not glow
_ON_SHEET, _ON_PAGE = 48, 200  # images, those with the highest probabilities
_COLUMNS = 6  # of the sheet
_TILE, _SHOWN = 240, 360  # pixels, the longest side of an image on the sheet and on the page
_STYLE = """
:root { color-scheme: light; }
body { max-width: 60rem; margin: 0 auto; padding: 1rem 1rem 4rem; background: #fff; color: #222;
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: .5rem 0; }
h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; }
.warning { background: #fff3cd; border-left: 4px solid #b8860b; padding: .4rem .8rem; font-weight: 600; }
.scroll { overflow-x: auto; max-height: 24rem; overflow-y: auto; border: 1px solid #ddd; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { position: sticky; top: 0; background: #f3f3f3; }
th, td { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid #eee; min-width: 4.5rem; }
th, td + td { white-space: nowrap; overflow-wrap: normal; }
.finding td { background: #fdf0e7; }
.bar { height: 1.1rem; border: 1px solid #999; max-width: 30rem; }
.ticks { display: flex; justify-content: space-between; max-width: 30rem; font-size: .85rem; }
figure { margin: 0 0 1.8rem; border-top: 1px solid #ddd; padding-top: .8rem; }
figure img { display: block; width: 100%; max-width: 45rem; height: auto; background: #000; }
figcaption { margin-top: .4rem; }
a { color: #0b5394; }
"""
METHODS = {
    "gradcam": (
        "Grad-CAM times probability",
        "Grad-CAM: where the network's last maps speak for a finding. The hottest place of an image has the image's "
        "probability, so that images can be compared.",
    ),
    "occlusion": (
        "fall of the probability",
        "Occlusion: by how much a finding becomes less probable with a square round that place greyed out.",
    ),
}
_WARNING = "Not for clinical use."


def write(folder, table, explained, method, words):
    """Writes `NUMBER-NAME.png` for each image, `contact-sheet.png` and `answers.html`.

    All images share one scale, up to the largest effect of all; what is below `FLOOR` is not coloured. Images are
    held one at a time, and those of the sheet small; sheet and page show the images with the highest probabilities.
    What an earlier call has written of other images into the folder is taken away.

    Args:
        folder: Folder to write to.
        table: A `pandas.DataFrame` of `file`, `probability`, `threshold` and `verdict`, in this order, and maybe the
            classes' probabilities.
        explained: For each row, in order, the image, uint8 `(height, width, 1)`, and the effect on the finding's
            probability, float32 `(height, width)`, 0 to 1.
        method: One of `METHODS`.
        words: Of the model and its threshold.

    Returns:
        The path of `answers.html`.

    Raises:
        OutputError: The folder cannot be written.
    """
    folder = files.folder(folder)
    with tempfile.TemporaryDirectory() as kept:
        # Kept on the disk: the scale is known after the last one.
        largest = max(_keep(Path(kept), number, *one) for number, one in enumerate(explained))
        top = max(largest, BRIGHTEST)
        known = table.iloc[:, :4]  # whatever the classes behind them are called
        order = np.argsort(-known["probability"].to_numpy(), kind="stable")
        on_sheet, on_page = set(order[:_ON_SHEET]), set(order[:_ON_PAGE])
        tiles, cards = {}, {}
        for number, row in enumerate(known.itertuples(index=False)):
            image, effect = _kept(Path(kept), number)
            effect = np.where(effect < FLOOR, 0, effect)
            _overlay(_path(folder, number, row.file), image, effect, top, method, row)
            hot = heated(image[None], effect[None] / top)[0]
            if number in on_sheet:
                tiles[number] = _shrunk(hot, _TILE)
            if number in on_page:
                path = Path(kept) / f"{number}.jpg"
                path.write_bytes(_jpeg(image, hot))
                cards[number] = path
        _contact_sheet(folder / "contact-sheet.png", tiles, known, order, top, method)
        with files.writing(folder / "answers.html") as beside, open(beside, "w", encoding="utf-8") as page:
            page.writelines(_page(table, cards, order, top, method, words))
    _remove_earlier(folder, {_path(folder, number, file) for number, file in enumerate(known["file"])})
    return folder / "answers.html"


def _keep(folder, number, image, effect):
    """Keeps an image and its effect until the scale is known; returns the largest effect."""
    np.savez_compressed(folder / f"{number}.npz", image=image, effect=np.float16(effect))
    return float(effect.max())


def _kept(folder, number):
    path = folder / f"{number}.npz"
    with np.load(path) as stored:
        image, effect = stored["image"], np.float32(stored["effect"])
    path.unlink()
    return image, effect


def _path(folder, number, file):
    return folder / f"{number:04d}-{Path(file).stem[:40]}.png"


def _remove_earlier(folder, written):
    """Deletes overlays of an earlier call: beside those of this one, they would pass for its answers."""
    kept = {path.name.casefold() for path in written}  # some file systems know no case
    for path in folder.glob("[0-9][0-9][0-9][0-9]*-*.png"):
        if path.name.casefold() in kept:
            continue
        with (
            contextlib.suppress(OSError, ValueError, Image.DecompressionBombError),
            Image.open(path) as opened,
        ):
            if {"heat", "source"} <= opened.info.keys():
                path.unlink()


def _short(file, length):
    """A file's name as a figure can show it: of letters that every font has, its end if it is long."""
    name = printable(Path(file).name).encode("ascii", "replace").decode()
    return name if len(name) <= length else f"...{name[3 - length :]}"


def _colour_bar(figure, axes, top, method, **options):
    colours = HEAT(np.linspace(0, 1, 256))
    colours[: round(256 * FLOOR / top)] = 1
    scale = ScalarMappable(Normalize(0, top), ListedColormap(colours))
    label = f"{METHODS[method][0]} (below {FLOOR:g}: not coloured)"
    figure.colorbar(scale, ax=axes, label=label, **options)


@styled
def _overlay(path, image, effect, top, method, row):
    """One image beside its explanation."""
    figure, axes = subplots(1, 2, figsize=(8.4, 4.4))
    axes[0].imshow(image[..., 0], cmap="gray", vmin=0, vmax=255)
    axes[0].set_title("image", fontsize=9)
    axes[1].imshow(heated(image[None], effect[None] / top)[0])
    axes[1].set_title("what speaks for a finding" if effect.any() else "no evidence of a finding", fontsize=9)
    for axis in axes:
        axis.axis("off")
    _colour_bar(figure, axes, top, method, aspect=30)
    title = f"{_short(row.file, 60)}\nprobability {row.probability:.3f}, threshold {row.threshold:.3f}: {row.verdict}"
    figure.suptitle(title, fontsize=11, parse_math=False)
    figure.supxlabel(_WARNING, fontsize=8)
    marks = {"source": printable(Path(row.file).name), "heat": method, "not_for_clinical_use": "true"}
    save(figure, path, marks)


@styled
def _contact_sheet(path, tiles, table, order, top, method):
    """The images with the highest probabilities, coloured, on one sheet."""
    shown = order[:_ON_SHEET]
    columns = min(_COLUMNS, max(len(shown), 3))
    rows = -(-len(shown) // columns)
    figure, axes = subplots(rows, columns, figsize=(2.1 * columns, 2.5 * rows + 1.2), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, number in zip(axes.flat, shown, strict=False):
        row = table.iloc[number]
        axis.imshow(tiles[number])
        title = f"{_short(row['file'], 24)}\n{row['probability']:.3f}: {row['verdict']}"
        weight = "bold" if row["verdict"] == "finding" else "normal"
        axis.set_title(title, fontsize=8, fontweight=weight, parse_math=False)
    _colour_bar(figure, axes, top, method, orientation="horizontal", location="bottom", aspect=50, shrink=0.7)
    figure.suptitle(f"{_which(shown, table)}. {_WARNING}", fontsize=11)
    save(figure, path)


def _which(shown, table):
    """Which images are shown, in words."""
    if len(shown) < len(table):
        return f"The {len(shown):,} of {len(table):,} images in which a finding is most probable"
    return "The most probable findings first"


def _shrunk(image, longest):
    """An image of at most so many pixels a side."""
    factor = min(longest / max(image.shape[:2]), 1)
    sides = [max(round(side * factor), 1) for side in image.shape[1::-1]]
    return cv2.resize(image, sides, interpolation=cv2.INTER_AREA)


def _jpeg(image, hot):
    """The bytes of an image beside its explanation."""
    plain = np.repeat(image, 3, axis=2)
    pair = np.concatenate([plain, np.full_like(plain[:, :4], 255), hot], axis=1)
    stream = io.BytesIO()
    Image.fromarray(_shrunk(pair, 2 * _SHOWN)).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _page(table, cards, order, top, method, words):
    """The parts of `answers.html`, one after the other."""
    yield (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta http-equiv='
        "\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>What a model says of {len(table):,} images</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
    )
    known = table.iloc[:, :4]
    findings = int((known["verdict"] == "finding").sum())
    yield f"<h1>The model sees a finding in {findings:,} of {len(table):,} images</h1>\n"
    yield f'<p class="warning">{_WARNING} A model\'s answer is no diagnosis.</p>\n<p>{_words(words)}.</p>\n'
    yield '<h2>Table</h2>\n<div class="scroll" tabindex="0">\n<table>\n<tr>'
    yield "".join(f"<th>{_words(column)}</th>" for column in table.columns) + "</tr>\n"
    for number, (name, *others) in enumerate(table.itertuples(index=False)):
        link = f'<a href="#image-{number}">{_words(name)}</a>' if number in cards else _words(name)
        cells = (one if isinstance(one, str) else f"{one:.4f}" for one in others)
        yield f'<tr class="{others[2].replace(" ", "-")}"><td>{link}</td>'
        yield "".join(f"<td>{_words(cell)}</td>" for cell in cells) + "</tr>\n"
    yield f"</table>\n</div>\n<h2>How to read the colours</h2>\n<p>{METHODS[method][1]}</p>\n{_legend(top)}"
    yield f"<h2>Images</h2>\n<p>{_which(cards, table)}. Left the image, right its explanation.</p>\n"
    for number in order[: len(cards)]:
        row, image = known.iloc[number], base64.b64encode(cards[number].read_bytes()).decode()
        said = (
            f"probability {row['probability']:.3f}, threshold {row['threshold']:.3f}: <b>{row['verdict']}</b>"
        )
        yield f'<figure id="image-{number}"><img loading="lazy" alt="the image and its explanation" '
        yield f'src="data:image/jpeg;base64,{image}">'
        yield f"<figcaption>{_words(row['file'])}<br>{said}</figcaption></figure>\n"
    yield "</body>\n</html>\n"


def gradient(top, floor=FLOOR):
    """The colours of a scale as CSS: nothing up to `floor`, then those up to `top`."""
    start = 100 * floor / top
    stops = [f"#fff {start:.1f}%"]
    stops += [f"{to_hex(HEAT(place))} {100 * place:.1f}%" for place in np.linspace(floor / top, 1, 9)]
    return f"linear-gradient(to right, #fff 0%, {', '.join(stops)})"


def _legend(top):
    """The colour bar of the page."""
    return (
        f'<div class="bar" style="background: {gradient(top)}"></div>\n'
        f'<div class="ticks"><span>0, no colour below {FLOOR:g}</span><span>{top:.2f}</span></div>\n'
        "<p>One scale for all images: a strong colour in one is as strong in another.</p>\n"
    )


def _words(text):
    """Text that moves no cursor and is no HTML."""
    return html.escape(printable(str(text)))
