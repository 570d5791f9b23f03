"""The limbs of the `phantom` radiographs: bones and soft tissue as what a beam passes through."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

PARTS = ("forearm", "humerus", "femur", "tibia")
VIEWS = ("frontal", "lateral")
CORTICAL, MARROW, MUSCLE, FAT = 0.058, 0.034, 0.0205, 0.0175  # attenuation, 1/mm, near 60 keV


def _chord(radius, off):
    """Length of a ray through a circle of `radius`, the squared distance `off` beside its centre."""
    chord = radius**2 - off
    np.maximum(chord, 0, out=chord)
    np.sqrt(chord, out=chord)
    chord *= 2
    return chord


@dataclass(frozen=True)
class Shaft:
    """A long bone: a tube of cortex that flares towards its joint end. All lengths in mm, y downwards.

    `end` is the y of the joint surface; `up` bones have their joint end at the top and leave the field below.
    """

    x: float
    radius: float
    end: float
    end_radius: float
    flare: float
    cap: float
    cortex: float
    lean: float = 0.0
    bow: float = 0.0
    up: bool = False

    def axis(self, y):
        """Returns x of the axis, outer radius, thickness of the cortex, share of epiphysis, at rows y."""
        inside = (y - self.end) if self.up else (self.end - y)
        flare = np.clip(1 - inside / self.flare, 0, 1)
        flare = flare**2 * (1.8 - 0.8 * flare)
        close = np.clip(1 - inside / self.cap, 0, 1)
        radius = (self.radius + (self.end_radius - self.radius) * flare) * (1 - close**3) ** (1 / 2.2)
        centre = self.x + self.lean * flare + self.bow * ((y - self.end) / 60) ** 2
        return centre, radius, np.maximum(self.cortex * (1 - 0.85 * flare), 0.7), flare

    def thickness(self, x, y):
        """Returns float32 `(2, rows, columns)`: mm of cortical bone and mm of marrow-filled trabeculae."""
        bones = np.zeros((2, len(y), len(x)), "f4")
        self.add_to(bones, x, y)
        return bones

    def add_to(self, bones, x, y):
        """Adds `thickness` to `bones` in place, touching only the rows and columns the bone reaches."""
        ends = np.searchsorted(y, self.end)
        rows = slice(ends, None) if self.up else slice(0, ends)
        y, bones = y[rows], bones[:, rows]
        if not len(y):
            return
        centre, radius, cortex, flare = (a[:, None].astype("f4") for a in self.axis(y))
        k, m = np.searchsorted(x, [(centre - radius).min(), (centre + radius).max()])
        off = (x[None, k:m].astype("f4") - centre) ** 2
        outer, inner = _chord(radius, off), _chord(np.maximum(radius - cortex, 0), off)
        bones[0, :, k:m] += outer - inner
        bones[1, :, k:m] += inner * (0.15 + 0.65 * flare)


@dataclass(frozen=True)
class Ball:
    """A short bone or a condyle: an ellipsoid with a thin shell. Lengths in mm, `tilt` in degrees."""

    x: float
    y: float
    rx: float
    ry: float
    rz: float
    tilt: float = 0.0
    shell: float = 0.9

    def add_to(self, bones, x, y):
        """Lays the ball over `bones` (as `thickness`) in place: where solids meet, the thicker one counts."""
        reach = max(self.rx, self.ry)
        i, j = np.searchsorted(y, [self.y - reach, self.y + reach])
        k, m = np.searchsorted(x, [self.x - reach, self.x + reach])
        if i == j or k == m:
            return
        u, v = (x[None, k:m] - self.x).astype("f4"), (y[i:j, None] - self.y).astype("f4")
        c, s = (float(f(np.deg2rad(self.tilt))) for f in (np.cos, np.sin))
        u, v = c * u + s * v, c * v - s * u
        outer = 2 * self.rz * np.sqrt(np.maximum(1 - (u / self.rx) ** 2 - (v / self.ry) ** 2, 0))
        a, b = max(self.rx - self.shell, 0.1), max(self.ry - self.shell, 0.1)
        inner = 2 * (self.rz - self.shell) * np.sqrt(np.maximum(1 - (u / a) ** 2 - (v / b) ** 2, 0))
        window = bones[:, i:j, k:m]
        thicker = outer > window[0] + window[1] / 0.8
        window[0] = np.where(thicker, outer - inner, window[0])
        window[1] = np.where(thicker, 0.8 * inner, window[1])


@dataclass(frozen=True)
class Limb:
    """What one view of a body part consists of.

    Attributes:
        bones: `Shaft`s; the first is the one findings sit in.
        condyles: `Ball`s that are part of the first bone.
        balls: `Ball`s of their own.
        half: Half-widths of the skin outline (mm) at the top, at the joint and at the bottom.
        depth: Thickness of the limb along the beam over its width.
        field: Side of the square the detector sees, mm.
    """

    bones: tuple
    condyles: tuple
    balls: tuple
    half: tuple
    depth: float
    field: float


def _forearm(frontal):
    if frontal:
        bones = (
            Shaft(-11, 7.2, 27, 16, 30, 9, 2.7, lean=-1, bow=-1.2),
            Shaft(13, 6.4, 24, 8.5, 16, 6, 2.5, bow=0.8),
            *(Shaft(x, 4.3, 50, 6.5, 10, 4, 1.6, up=True) for x in (-15, -5, 5, 15)),
            Shaft(-28, 5, 50, 7, 10, 4, 1.6, bow=-4, up=True),
        )
        row = ((-15, 33, 8, 6, -30), (-4, 32, 7, 6, 10), (6, 32.5, 6, 5.5, 0), (11, 31, 4, 4.5, 0))
        row += ((-19, 43, 6, 5.5, 20), (-10, 43.5, 5, 5, 0), (0, 41.5, 6, 8, 0), (10, 41.5, 7, 6.5, 30))
        carpals = tuple(Ball(x, y, a, b, 6, t) for x, y, a, b, t in row)
        return Limb(bones, (), carpals, (36, 31, 42), 0.75, 102)
    bones = (
        Shaft(-4, 7.4, 27, 12, 28, 9, 2.7, lean=2, bow=1.5),
        Shaft(7, 6.4, 23, 8, 16, 6, 2.5, bow=-1),
        *(Shaft(x, 4.5, 50, 6.5, 10, 4, 1.6, up=True) for x in (-4, 0, 4)),
    )
    row = ((0, 33, 9, 6, 15), (-3, 35, 5, 8, -20), (0, 42, 8, 7, 0), (4, 41, 5, 6, 30))
    carpals = tuple(Ball(x, y, a, b, 7, t) for x, y, a, b, t in row)
    return Limb(bones, (), carpals, (32, 23, 22), 1.2, 102)


def _humerus(frontal):
    if frontal:
        bones = (
            Shaft(0, 11.5, 32, 27, 34, 9, 4.0, lean=2, bow=0.6),
            Shaft(-12, 7, 45, 11, 16, 4, 2.4, bow=-2, up=True),
            Shaft(12, 8, 44, 13, 24, 5, 2.6, bow=3, up=True),
        )
        condyles = (Ball(-13, 33, 10, 7.5, 9), Ball(9, 33.5, 14, 7.5, 10))
        return Limb(bones, condyles, (Ball(4, 27, 10, 11, 5),), (47, 40, 38), 0.95, 140)
    bones = (
        Shaft(-3, 11.5, 30, 12, 26, 8, 4.0, lean=5, bow=-0.8),
        Shaft(3, 7, 46, 11, 16, 4, 2.4, bow=5, up=True),
        Shaft(-4, 8, 40, 12, 24, 5, 2.6, bow=5, up=True),
    )
    return Limb(bones, (Ball(3, 30, 11, 10, 18),), (Ball(-10, 31, 6, 11, 8, 15),), (45, 40, 36), 1.0, 140)


def _femur(frontal):
    if frontal:
        bones = (
            Shaft(2, 15.5, 38, 39, 46, 14, 5.5, lean=-2, bow=1),
            Shaft(0, 15, 57, 38, 42, 7, 4.2, up=True),
            Shaft(34, 6, 70, 10, 16, 6, 2.2, up=True),
        )
        condyles = (Ball(-19, 36, 19, 16, 23), Ball(19, 36, 19, 15, 23))
        return Limb(bones, condyles, (Ball(1, 24, 20, 20, 7),), (68, 62, 56), 0.9, 172)
    bones = (
        Shaft(-2, 15.5, 38, 24, 40, 14, 5.5, lean=6, bow=3.5),
        Shaft(4, 15, 58, 25, 42, 8, 4.2, bow=3, up=True),
        Shaft(22, 6, 70, 9, 16, 6, 2.2, up=True),
    )
    condyles = (Ball(6, 34, 29, 18, 24, 10),)
    return Limb(bones, condyles, (Ball(-33, 26, 8, 18, 13, 5),), (66, 58, 54), 1.0, 172)


def _tibia(frontal):
    if frontal:
        bones = (
            Shaft(-6, 13.5, 34, 24, 36, 6, 4.6, lean=-3, bow=0.5),
            Shaft(22, 6.5, 46, 10, 22, 10, 2.6, lean=-3),
        )
        balls = (Ball(-4, 47, 21, 11, 18), Ball(-24, 38, 6, 9, 9), Ball(-3, 62, 18, 11, 20, 10))
        return Limb(bones, (), balls, (50, 36, 40), 0.95, 146)
    bones = (
        Shaft(-4, 13, 34, 20, 32, 6, 4.6, lean=2, bow=1.0),
        Shaft(9, 6.5, 44, 9, 22, 10, 2.6, lean=2),
    )
    balls = (Ball(-3, 46, 23, 12, 19, 12), Ball(23, 58, 29, 14, 17, -22), Ball(-30, 52, 11, 9, 13, 20))
    return Limb(bones, (), balls, (47, 38, 62), 1.0, 146)


_LAYOUTS = {"forearm": _forearm, "humerus": _humerus, "femur": _femur, "tibia": _tibia}


def limb(part, view, rng):
    """One person's limb: the table above with that person's proportions.

    Args:
        part: One of `PARTS`.
        view: One of `VIEWS`.
        rng: Generator of the source; every view must get one in the same state.
    """
    table = _LAYOUTS[part](view == "frontal")
    build, wall, fat = rng.uniform(0.93, 1.1), rng.uniform(0.75, 1.25), rng.uniform(0.9, 1.2)
    flare, lean, joint = rng.uniform(0.9, 1.12), rng.uniform(0.5, 1.5), rng.normal(0, 2)
    bones = tuple(
        replace(
            b,
            radius=b.radius * build,
            end_radius=b.end_radius * build * (1 + (flare - 1) * (not b.up)),
            cortex=b.cortex * wall,
            end=b.end + joint,
            lean=b.lean * lean,
            bow=b.bow * lean,
        )
        for b in table.bones
    )
    condyles, balls = (
        tuple(replace(b, y=b.y + joint, rx=b.rx * build, ry=b.ry * build) for b in group)
        for group in (table.condyles, table.balls)
    )
    half = tuple(h * build * fat for h in table.half)
    return replace(table, bones=bones, condyles=condyles, balls=balls, half=half)


def soft_tissue(shape, x, y, rng):
    """Attenuation of skin, fat and muscle.

    Args:
        shape: The `Limb`.
        x: Columns, mm.
        y: Rows, mm.
        rng: Generator of the source, for the outline's irregularity and the muscles' streaks.

    Returns:
        float32 `(rows, columns)`: attenuation (no unit), 0 in air.
    """
    knots = np.array([-0.6, 0.2, 0.6]) * shape.field
    bends = rng.normal(0, 0.03, (2, 7))
    rows = np.linspace(-0.65, 0.65, 7) * shape.field
    sides = []
    for bend in bends:
        half = np.interp(y, knots, shape.half) * (1 + np.interp(y, rows, bend))
        sides.append(cv2.GaussianBlur(half[:, None], (1, 0), 12, borderType=cv2.BORDER_REPLICATE))
    left, right = (side.astype("f4") for side in sides)
    centre, half = (right - left) / 2, (left + right) / 2
    off = (x[None] - centre) ** 2
    skin, muscle = _chord(half, off), _chord(rng.uniform(0.8, 0.92) * half, off)
    streaks = cv2.GaussianBlur(rng.standard_normal((len(y) // 8, len(x) // 4), "f4"), (0, 0), 1.5, sigmaY=3)
    streaks = cv2.resize(streaks, (len(x), len(y)), interpolation=cv2.INTER_CUBIC)
    # FAT (skin - muscle) + MUSCLE muscle (1 + streaks / 4), in place: canvases are large
    streaks *= 0.25 * MUSCLE
    streaks += MUSCLE - FAT
    muscle *= streaks
    skin *= FAT
    skin += muscle
    skin *= shape.depth
    return skin
