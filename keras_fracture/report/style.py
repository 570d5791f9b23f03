"""How figures look. matplotlib's own settings and its backend stay as the host application has them."""

import matplotlib
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito
HEAT = matplotlib.colormaps["inferno"]
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

# Decorator of functions that draw: matplotlib looks its settings up while a figure is made and saved.
styled = matplotlib.rc_context(
    {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "figure.constrained_layout.use": True,
        "savefig.dpi": 110,
        "legend.frameon": False,
    }
)


def subplots(rows=1, columns=1, *, figsize, layout=None, **options):
    """`matplotlib.pyplot.subplots` of a figure that no window, no notebook and no other figure knows of.

    Args:
        rows: Rows of axes.
        columns: Columns of axes.
        figsize: Width and height in inches.
        layout: As of `matplotlib.figure.Figure`.
        **options: As of `Figure.subplots`.

    Returns:
        The figure, and its axes.
    """
    figure = Figure(figsize=figsize, layout=layout)
    return figure, figure.subplots(rows, columns, **options)
