"""Numbers, tables and figures as Markdown."""

import re

from keras_fracture.errors import printable

_MARKUP = re.compile(r"[<>|\[\]*\\]")
# The day since which augmentation draws independent numbers and splits keep their shares in small strata: numbers from
# before it would not come out again.
MENDED = "2026-11-25"

_METRICS = {  # of metrics, or of a word of their names, that are no plain words
    "auc": "AUC",
    "brier": "Brier score",
    "copies_features": "near copies by features",
    "copies_pixels": "near copies by pixels",
    "ece": "expected calibration error",
    "f1": "F1",
    "fid": "FID",
    "kid": "KID",
    "ms_ssim": "MS-SSIM",
    "sensitivity_at_90": "sensitivity at 90 % specificity",
    "sensitivity_at_95": "sensitivity at 95 % specificity",
}


def source_names(policy, patients=True):
    """What a source of a policy's splits is, in words: one, and several; `patients`: whether anything tells these."""
    if policy == "studies":
        return "a study", "studies"
    return ("an X-ray or patient", "X-rays or patients") if patients else ("an X-ray", "X-rays")


def plain(content):
    """What a JSON file holds with all texts, at any depth, as Markdown shows them: no HTML, links or further cells.

    Args:
        content: What JSON can hold. Backticks stay.
    """
    if isinstance(content, str):
        return _MARKUP.sub(lambda match: f"&#{ord(match[0])};", printable(content))
    if isinstance(content, dict):
        return {plain(name): plain(value) for name, value in content.items()}
    return [plain(one) for one in content] if isinstance(content, list) else content


def markdown(header, rows):
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


class Figures:
    """Numbers the figures of a report in the order in which it shows them."""

    def __init__(self):
        self.count = 0

    def add(self, file, caption):
        """A paragraph with the next figure: `![Figure 1. What it shows.](file.png)`.

        Args:
            file: Path of a PNG or GIF, relative to the report's folder.
            caption: What it shows, plain text.
        """
        self.count += 1
        words = re.sub(r"([\\`\[\]])", r"\\\1", caption)
        return f"![Figure {self.count}. {words}]({file})\n"


def percent(score, signed=False):
    """`81.2 (79.9 to 82.5)` from a dict of value, low and high; `+1.2` with `signed`."""
    sign = "+" if signed else ""
    return f"{100 * score['value']:{sign}.1f} ({100 * score['low']:{sign}.1f} to {100 * score['high']:{sign}.1f})"


def decimal(score, signed=False):
    """`0.812 (0.799 to 0.825)` from a dict of value, low and high."""
    sign = "+" if signed else ""
    return f"{score['value']:{sign}.3f} ({score['low']:{sign}.3f} to {score['high']:{sign}.3f})"


def over_seeds(score):
    """`decimal`, without an interval where a single seed has none."""
    if score.get("low", 0) < score.get("high", 0):
        return decimal(score)
    return f"{score['value']:.3f}"


def metric_in_words(name, beside):
    """A metric as pages call it.

    Args:
        name: As the code calls it.
        beside: Names of all metrics of the same thing: `recall` is a classifier's sensitivity, and something else of
            generated images.
    """
    if name == "recall" and "specificity" in beside:
        return "sensitivity"
    return _METRICS.get(name) or " ".join(_METRICS.get(word, word) for word in name.split("_"))


def counted(number, noun):
    """A number with its noun, such as "1 seed" and "3 seeds"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def dated(run):
    """A run's day, and whether it is from before `MENDED`."""
    return run["date"] + (", *before the mend*" if run["date"] < MENDED else "")


def overlap(counts, policy):
    """The size of a policy's splits and how far they overlap, in words; `counts` of `experiment.splits.counts`."""
    source, sources = source_names(policy)
    parts = [
        f"{name} {count['images']:,} images{_mirrored(count)} of {count['sources']:,} {sources}"
        for name, count in counts.items()
    ]
    test = counts["test"]
    return (
        f"Splits: {'; '.join(parts)}. **{test['images_of_training_sources']} of {test['images']} test "
        f"images show {source} that is also trained on.**\n"
    )


def _mirrored(count):
    number = count.get("with_mirrored", count["images"])
    return f" ({number:,} with their mirror images)" if number > count["images"] else ""
