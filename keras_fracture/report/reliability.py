"""The table of RELIABILITY.md, from what `python -m benchmarks.soak` recorded."""

from keras_fracture.report import benchmarks


def rows(path):
    """Header and rows for `tables.markdown`.

    Args:
        path: `results/reliability.json`.

    Returns:
        A list of column names, and a list of lists.
    """
    header = ["what happens", "times", "went well", "what was seen", "command", "date"]
    return header, [
        [
            row["what"], f"{row['tried']:,}", f"{row['well']:,}", row["details"].get("seen", ""),
            f"`{row['command']}`", row["date"],
        ]
        for _, row in sorted(benchmarks.recorded(path).items())
    ]  # fmt: skip
