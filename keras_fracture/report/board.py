"""The board: predictions that were scored, of any framework, `results/board/NAME.json`, as one table a data set."""

import html
import json
import re
from pathlib import Path

from keras_fracture import files
from keras_fracture.errors import OutputError, one_line
from keras_fracture.report.markdown import counted, decimal, markdown

CARD = {
    "who": "who made it",
    "code": "address of the code",
    "training_data": "what it was trained on",
    "pretrained": "what its first weights were trained on; 'nothing' is an answer",
}
_LONGEST = 300  # characters of a field
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_ADDRESS = re.compile(r"https?://[A-Za-z0-9./_~%-]+")
_DIGEST = re.compile(r"[0-9a-f]{64}")
# An underscore within a word is no markup.
_MARKUP = re.compile(r"[\\`*{}\[\]()#+!|~$:@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def check(name, card):
    """Raises `OutputError` unless an entry may have this name and this card, a dict of `CARD` to words."""
    if not _NAME.fullmatch(name):
        raise OutputError(f"A name on the board has letters, digits, ., _ and -. Received: {name!r}")
    for field, what in CARD.items():
        words = card.get(field)
        if not (isinstance(words, str) and words.strip()):
            raise OutputError(f"The board says of each entry {what}: give it. Received: {words!r} as {field}")
        if not words.isprintable() or len(words) > _LONGEST:
            raise OutputError(
                f"{field} must be one line of up to {_LONGEST} characters that can be printed. Received: {words!r:.80}"
            )


def submit(folder, name, content, predictions):
    """Writes an entry: its predictions beside its numbers, so that others can be compared with them.

    Args:
        folder: Where entries are kept.
        name: The entry's.
        content: A dict with what `read` returns, but `name`.
        predictions: The csv that was scored, as text.

    Returns:
        The path of the entry.

    Raises:
        OutputError: See `check`; or the folder cannot be written.
    """
    check(name, content["card"])
    files.write_text(Path(folder) / f"{name}.csv", predictions)
    return files.write_text(
        Path(folder) / f"{name}.json", json.dumps({"name": name} | content, indent=1) + "\n"
    )


def read(folder):
    """All entries, in alphabetical order.

    Returns:
        A list of dicts: `name`, `data`, `split_policy`, `split_digest`, `images`, `findings`, `seeds`, `threshold`,
        `date`, `metrics` and `differences` (see `report.scored`), and `card`, a dict of `CARD`; of an ensemble that
        `score --average` made also `ensemble_of`, how many seeds it is the mean of.

    Raises:
        OutputError: A file is not of its form.
    """
    entries = []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
            check(entry["name"], entry["card"])
            if not _DIGEST.fullmatch(entry["split_digest"]):
                raise ValueError(f"split_digest {entry['split_digest']!r}")
            _row(entry)
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
            raise OutputError(f"{path} is not an entry of the board. Received: {one_line(error)}") from None
        entries.append(entry)
    return entries


def table(folder):
    """All tables of the board as Markdown: one a split of a data set, best AUC first."""
    boards = {}
    for entry in read(folder):
        boards.setdefault((entry["data"], entry["split_policy"], entry["split_digest"]), []).append(entry)
    parts = []
    header = ["entry", "who", "AUC", "sensitivity at 90 % specificity", "average precision", "accuracy at threshold",
              "difference in AUC to", "seeds", "trained on", "pretrained on", "code", "date"]  # fmt: skip
    for (data, policy, digest), entries in sorted(boards.items()):
        entries.sort(key=lambda entry: -entry["metrics"]["auc"]["value"])
        counts = (
            f"{counted(entries[0]['images'], 'test image')}, {counted(entries[0]['findings'], 'finding')}"
        )
        parts += [
            f"## {escaped(data)}, {escaped(policy)} split\n",
            f"{counts}; split `{digest}`.\n",
            markdown(header, map(_row, entries)),
        ]
    return "\n".join(parts) or "No entry yet.\n"


def _row(entry):
    metrics, card = entry["metrics"], {field: escaped(words) for field, words in entry["card"].items()}
    differences = [
        f"{escaped(name)}: {decimal(one['auc'], signed=True)}" for name, one in entry["differences"].items()
    ]
    return [
        escaped(entry["name"]), card["who"], decimal(metrics["auc"]), decimal(metrics["sensitivity_at_90"]),
        decimal(metrics["average_precision"]), f"{decimal(metrics['accuracy'])} at {entry['threshold']:.3g}",
        "; ".join(differences), _seeds(entry), card["training_data"], card["pretrained"],
        f"<{entry['card']['code']}>" if _ADDRESS.fullmatch(entry["card"]["code"]) else card["code"],
        escaped(entry["date"]),
    ]  # fmt: skip


def _seeds(entry):
    """How many trainings were scored, each by itself or as one ensemble."""
    members = f", the mean of {int(entry['ensemble_of'])}" if "ensemble_of" in entry else ""
    return f"{int(entry['seeds'])}{members}"


def escaped(words):
    """Words that Markdown and HTML show as they are: what could be markup as numbered entities."""
    return _MARKUP.sub(lambda match: f"&#{ord(match[0])};", html.escape(words, quote=False))
