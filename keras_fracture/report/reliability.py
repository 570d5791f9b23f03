"""The table of RELIABILITY.md, from what `python -m benchmarks.soak` recorded."""

from keras_fracture.report.benchmarks import recorded
from keras_fracture.report.markdown import markdown, plain


def table(path):
    """The table in Markdown: a row for each thing that was done.

    Args:
        path: `results/reliability.json`.

    Raises:
        OutputError: The file is not of its form.
    """
    header = ["what happens", "times", "went well", "what was seen", "command", "date"]
    rows = [
        [
            row["what"], f"{row['tried']:,}", f"{row['well']:,}", row["details"].get("seen", ""),
            f"`{row['command']}`", row["date"],
        ]
        for _, row in sorted(plain(recorded(path)).items())
    ]  # fmt: skip
    return markdown(header, rows)
