"""What a classifier loses where the images are changed and the labels kept: lines, files, a figure, tables."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from keras_fracture import files
from keras_fracture.data import tables
from keras_fracture.errors import OutputError, one_line
from keras_fracture.report.figures import save
from keras_fracture.report.groups import ENOUGH, FEW
from keras_fracture.report.markdown import counted, decimal, markdown, percent, plain
from keras_fracture.report.style import COLOURS, styled, subplots

# Of what the AUC is above 0.5, lost with the finding hidden: the share from which on a model is said to read it.
DROP = 0.25
_COIN = 0.60  # below such an AUC there is nothing to lose
_SCORES = ("auc", "difference", "less_elsewhere", "within_body_part", "fill_auc")
HEADER = (
    "change", "images", "AUC", "less untouched", "less elsewhere", "AUC within body parts", "X-rays changed",
    "AUC by the fill's size alone",
)  # fmt: skip


def verdict(result):
    """Whether a classifier reads the finding, in one sentence; None where findings have no boxes.

    Args:
        result: Of `inference.stress.examine`.
    """
    rows = {row["change"]: row for row in result["rows"]}
    if "less_elsewhere" not in rows.get("finding hidden", {}):
        return None
    hidden, untouched = rows["finding hidden"], rows["untouched"]["auc"]
    loss, control = hidden["difference"], hidden["less_elsewhere"]  # negative where hiding costs something
    limit = DROP * (untouched["value"] - 0.5)
    told = f"{limit:.3f}, a quarter of what its AUC is above 0.5"
    if untouched["value"] < _COIN:
        words = f"Nothing to lose with an AUC of {decimal(untouched)}"
    elif hidden.get("sources", ENOUGH) < ENOUGH:  # earlier versions did not record it
        words = f"Whether it reads the finding: {FEW}"
    elif loss["low"] > -limit:
        words = f"Reads something else than the finding, which may be hidden at a loss of less than {told}"
    elif loss["high"] > -limit:
        words = f"Whether it reads the finding cannot be told: with it hidden the loss may be less than {told}, or more"
    elif control["high"] >= 0:
        words = f"Loses at least {told}, with the finding hidden, but maybe no more than by as much filling"
    else:
        words = f"Reads the finding: with it hidden it loses at least {told}"
    said = [
        f"{name}: AUC {decimal(rows[name]['difference'], signed=True)}, and "
        f"{decimal(rows[name]['less_elsewhere'], signed=True)} compared with as much hidden elsewhere"
        for name in ("finding hidden", "finding hidden, boxes doubled")
        if "less_elsewhere" in rows.get(name, {})
    ]
    return f"{words} ({'; '.join(said)})."


def heat(result):
    """Where the hottest point of the heat maps lies, in one sentence; None where that was not measured."""
    one = result["pointing"]
    if one is None:
        return None
    return (
        f"Grad-CAM's hottest point lies on a box in {percent(one)} % of {counted(one['images'], 'image')}, a random "
        f"point in {100 * one['chance']:.1f} %, that of another image's map in {100 * one['chance_of_others']:.1f} %."
    )


def lines(result):
    """What was found, as lines for a terminal.

    Args:
        result: Of `inference.stress.examine`.
    """
    found = [f"{'images changed, labels kept':<33}{'images':<8}{'AUC':<24}less untouched"]
    found += [
        f"{row['change']:<33}{row['images']:<8,}{decimal(row['auc']):<24}"
        + (decimal(row["difference"], signed=True) if "difference" in row else "")
        + (f"; {row['changed']:,} images have any" if row["change"] == "letters painted over" else "")
        for row in result["rows"]
    ]
    return found + result["notes"] + [words for words in (verdict(result), heat(result)) if words]


def write(folder, result, facts):
    """Writes `stress.json`, `stress.csv` and `stress.png`; returns the folder.

    Args:
        folder: A path.
        result: Of `inference.stress.examine`.
        facts: What else the json says: `model`, `data`, `split`, `split_policy` and `date` among it.
    """
    folder = files.folder(Path(folder))
    files.write_text(folder / "stress.json", json.dumps(facts | result, indent=1) + "\n")
    files.write_text(folder / "stress.csv", tables.csv_text(_table(result["rows"])))
    title = f"{facts['model']} on {facts['data']}, {facts['split']} images, {facts['split_policy']} split"
    figure(result["rows"], folder / "stress.png", title)
    return folder


def _table(rows):
    flat = []
    for row in rows:
        flat.append({name: row[name] for name in ("change", "images", "findings", "changed")})
        for name in _SCORES:
            for end, value in row.get(name, {}).items():
                flat[-1][name if end == "value" else f"{name}_{end}"] = value
    return pd.DataFrame(flat)


@styled
def figure(rows, path, title):
    """AUC under each change, with 95 % intervals. Shows no image.

    Args:
        rows: Of `inference.stress.examine`.
        path: PNG to write.
        title: Of the figure.
    """
    drawn, axis = subplots(figsize=(8.4, 0.5 * len(rows) + 1.7))
    scores = [row["auc"] for row in rows]
    values = np.array([score["value"] for score in scores])
    ends = np.array([[score[end] for score in scores] for end in ("low", "high")])
    axis.axvline(0.5, ls=":", color="grey", label="chance")
    axis.axvline(values[0], ls="--", lw=1.2, color=COLOURS[0], label="untouched")
    boxes = np.array(["fill_auc" in row for row in rows])
    for chosen, colour, marker, words in (
        (boxes, COLOURS[1], "D", "boxes filled"),
        (~boxes, COLOURS[0], "o", "other changes"),
    ):
        if chosen.any():
            reach = np.abs(values - ends)[:, chosen]
            axis.errorbar(
                values[chosen], np.flatnonzero(chosen), xerr=reach, fmt=marker, color=colour, capsize=4, lw=1.6,
                ms=7, label=words,
            )  # fmt: skip
    axis.set(yticks=range(len(rows)), yticklabels=[f"{row['change']} ({row['images']:,})" for row in rows])
    axis.set(
        xlabel="AUC (95 % interval over X-rays); images in brackets", xlim=(min(0.4, ends.min() - 0.02), 1.0)
    )
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    drawn.legend(fontsize=9, loc="outside lower center", ncols=4)
    drawn.suptitle(title)
    return save(drawn, path)


def recorded(folder):
    """The tables of `docs/stress.md`: one a model.

    Args:
        folder: With `NAME/stress.json` of each, as `write` makes them.

    Raises:
        OutputError: A file is not of its form.
    """
    parts = []
    for path in sorted(Path(folder).glob("*/stress.json")):
        try:
            parts.append(_section(plain(json.loads(path.read_text(encoding="utf-8"))), path.parent.name))
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
            raise OutputError(f"{path} holds no stress test. Received: {one_line(error)}") from None
    return "\n".join(parts) or "No model yet.\n"


def _section(content, name):
    rows = [
        [
            row["change"], f"{row['images']:,}", decimal(row["auc"]),
            *(decimal(row[name], signed=True) if name in row else "" for name in ("difference", "less_elsewhere")),
            decimal(row["within_body_part"]) if "within_body_part" in row else "",
            f"{row['changed']:,}" if row["changed"] else "",
            decimal(row["fill_auc"]) if "fill_auc" in row else "",
        ]
        for row in content["rows"]
    ]  # fmt: skip
    heading = f"## {content['model']}: {content['data']}, {content['split_policy']} split, {content['split']} images\n"
    words = [f"**{words}**\n" for words in (verdict(content),) if words]
    words += [f"{words}\n" for words in (heat(content),) if words]
    picture = (
        f"![AUC of {name} under each change, with 95 % intervals](../results/stress/{name}/stress.png)\n"
    )
    notes = "".join(f"- {note}\n" for note in content["notes"])
    made = f"`{content['command']}`, seed {content['seed']}, {content['machine']}, {content['date']}\n"
    return "\n".join([heading, *words, markdown(HEADER, rows), *([notes] if notes else []), picture, made])
