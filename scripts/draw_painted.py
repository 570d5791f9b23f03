"""Draws README's figure of painted lesions, `docs/images/painted.png`: `python scripts/draw_painted.py`."""

from pathlib import Path

from keras_fracture.data import phantom
from keras_fracture.demo import painting
from keras_fracture.demo.shelf import Shelf
from keras_fracture.report import figures

CHECKOUT = Path(__file__).resolve().parents[1]
MODEL, SHOWN = "unit_phantom", ("femur", "tibia")
FIRST_HELD_OUT = 1  # of a plan of one phantom and held-out ones


def main():
    """Writes the figure; returns the exit code."""
    painter = Shelf([CHECKOUT / "saved_models" / MODEL]).painter(MODEL)
    healthy = [one for one in phantom.plan(0, 1, 400)[FIRST_HELD_OUT:] if one.finding == "none"]
    chosen = [next(one for one in healthy if one.body_part == part) for part in SHOWN]
    images = [phantom.draw(one, one.taken[0], 0, size=painting.SIDE)["image"] for one in chosen]
    painted = [painting.paint(image, painting.window(0.5, 0.45, 0.4), painter, 2.0) for image in images]
    columns = {
        name: [getattr(one, name)[..., 0] for one in painted]
        for name in ("original", "translated", "blended")
    }
    figures.columns_of(
        columns, CHECKOUT / "docs" / "images" / "painted.png", f"{MODEL} paints lesions into drawn limbs"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
