"""How often heat maps lie on the finding, against chance: lines, a file, tables."""

import json
from pathlib import Path

from keras_fracture import files
from keras_fracture.errors import OutputError, one_line
from keras_fracture.report.groups import ENOUGH, FEW
from keras_fracture.report.markdown import counted, markdown, percent, plain

HEADER = (
    "model", "explanation", "hottest point on a box, %", "a random point, %", "another image's map, %",
    "more than both",
    "overlap with boxes, %", "random pixels, %", "images, without heat",
)  # fmt: skip


def lines(result):
    """What was found, as lines for a terminal.

    Args:
        result: Of `inference.explaining.measure`.
    """
    found = [
        f"{counted(result['images'], 'image')} with a box round the finding, {result['side']} pixels a side"
    ]
    heads = f"{'heat map':<22}{'hottest point on a box, %':<28}{'random':<9}{'other map':<12}{'overlap, %':<20}random"
    found.append(heads)
    for row in result["rows"]:
        point, overlap = row["pointing"], row["overlap"]
        found.append(
            f"{row['method']:<22}{percent(point):<28}{100 * point['chance']:<9.1f}"
            f"{100 * point['chance_of_others']:<12.1f}{percent(overlap):<20}{100 * overlap['chance']:.1f}"
        )
    return found


def write(folder, result, facts):
    """Writes `explanations.json`; returns the folder.

    Args:
        folder: A path.
        result: Of `inference.explaining.measure`.
        facts: What else it says: `model`, `data`, `split`, `split_policy` and `date` among it.
    """
    folder = files.folder(Path(folder))
    files.write_text(folder / "explanations.json", json.dumps(facts | result, indent=1) + "\n")
    return folder


def recorded(folder):
    """The table of `docs/explanations.md`: a row a model and explanation, models by their AUC.

    Args:
        folder: With `NAME/explanations.json` of each, as `write` makes them.

    Raises:
        OutputError: A file is not of its form.
    """
    contents = []
    for path in sorted(Path(folder).glob("*/explanations.json")):
        try:
            content = plain(json.loads(path.read_text(encoding="utf-8")))
            contents.append((content["auc"]["value"], _rows(content), _made(content)))
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
            raise OutputError(f"{path} holds no measured explanations. Received: {one_line(error)}") from None
    if not contents:
        return "No model yet.\n"
    contents.sort(key=lambda one: -one[0])
    rows = [row for _, own, _ in contents for row in own]
    return "\n".join([markdown(HEADER, rows), *(made for *_, made in contents)])


def _rows(content):
    about = f"{content['model']} (test AUC {content['auc']['value']:.3f}), {content['data']}, {content['side']} px"
    rows, few = [], content.get("sources", ENOUGH) < ENOUGH  # earlier versions did not record it
    for row in content["rows"]:
        point, overlap = row["pointing"], row["overlap"]
        luck = (f"{100 * point[name]:.1f}" for name in ("chance", "chance_of_others"))
        area = percent(overlap), f"{100 * overlap['chance']:.1f}"
        images = f"{content['images']:,}, {row['without']:,}"
        rows.append(
            [about, row["method"], percent(point), *luck, FEW if few else _beyond(point), *area, images]
        )
    return rows


def _beyond(score):
    """Whether the interval lies above what chance reaches, by random points and by other images' maps."""
    luck = max(score["chance"], score["chance_of_others"])
    return "yes" if score["low"] > luck else "less" if score["high"] < luck else "not shown"


def _made(content):
    return f"`{content['command']}`, {content['machine']}, {content['date']}\n"
