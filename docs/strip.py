"""README's animation, from the sample grids of a GAN's run: `python docs/strip.py runs/.../samples docs/learning.gif`.

They show what the generator drew from the same noise after each epoch; no real image is among them.
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

TILE, SHOWN = 66, 4  # pixels of an image with its margin in a grid of 6 x 6; images a side that are shown
FRAME, LAST = 350, 2500  # milliseconds
CAPTION = 22  # pixels


def main(folder, path):
    """Writes the animation; returns the exit code."""
    side = 2 + SHOWN * TILE
    frames = []
    for file in sorted(Path(folder).glob("epoch-*.png")):
        frame = Image.new("L", (side, side + CAPTION), 255)
        frame.paste(Image.open(file).convert("L").crop((0, 0, side, side)))
        words = f"epoch {int(file.stem.removeprefix('epoch-'))}"
        ImageDraw.Draw(frame).text((4, side + 2), words, 0, ImageFont.load_default(14))
        frames.append(frame.quantize(48))
    if not frames:
        print(f"{folder} holds no epoch-NNNN.png", file=sys.stderr)
        return 2
    times = [FRAME] * (len(frames) - 1) + [LAST]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=times, loop=0, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
