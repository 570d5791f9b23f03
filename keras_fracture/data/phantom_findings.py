"""The findings of the `phantom` radiographs: fractures cut a bone's maps, lesions hollow or fill them."""

import math

import cv2
import numpy as np

FRACTURES = ("transverse", "oblique", "spiral", "displaced", "comminuted")
LESIONS = ("lytic", "sclerotic")
KINDS = FRACTURES + LESIONS
_TEETH = np.linspace(-2, 2, 513)  # where a broken line is worked out, in radii from the axis


class Scene:
    """One bone on the columns of the canvas it can reach, with the coordinates findings are described in.

    Attributes:
        columns: Which columns of the canvas these are, a slice.
        maps: float32 `(2, rows, columns)`, mm of cortical and trabecular bone.
        x: Columns, mm.  y: Rows, mm.
        level: y of the finding's centre, mm.
        radius: Outer radius of the bone at that level, mm.
        across: float32 `(rows, columns)`, distance from the bone's axis, mm, positive to the right.
    """

    def __init__(self, limb, x, y, level):
        shaft = limb.bones[0]
        centre, radius, _, _ = shaft.axis(y)
        reach = [((centre - radius).min(), (centre + radius).max())]
        reach += [(ball.x - max(ball.rx, ball.ry), ball.x + max(ball.rx, ball.ry)) for ball in limb.condyles]
        left, right = np.transpose(reach)  # and as far beyond as a fragment is pushed
        self.columns = slice(*np.searchsorted(x, [left.min() - shaft.radius, right.max() + shaft.radius]))
        x = x[self.columns]
        self.maps, self.x, self.y, self.level = shaft.thickness(x, y), x, y, level
        for condyle in limb.condyles:
            condyle.add_to(self.maps, x, y)
        here = np.searchsorted(y, level)
        self.radius, self.centre, self.end = float(radius[here]), float(centre[here]), shaft.end
        self.hinge = float(shaft.axis(np.array([shaft.end - shaft.cap]))[0][0])
        self.across = (x[None] - centre[:, None]).astype("f4")
        self.step = float(y[1] - y[0])

    def move(self, maps, angle, shift, pivot):
        """Rotates `maps` by `angle` degrees about `pivot` (x, y in mm), then shifts by (dx, dy) mm."""
        origin = np.array([self.x[0], self.y[0]])
        pixel = (np.array(pivot) - origin) / self.step
        matrix = cv2.getRotationMatrix2D(pixel.tolist(), angle, 1.0)
        matrix[:, 2] += np.array(shift) / self.step
        size = (len(self.x), len(self.y))
        return np.stack([cv2.warpAffine(m, matrix, size, borderMode=cv2.BORDER_REPLICATE) for m in maps])


def _jagged(scene, rng, amplitude):
    """A broken line across the bone: offset in mm at each column distance, `amplitude` mm high."""
    heights = 0.0
    for count, share in ((7, 1.0), (13, 0.7), (29, 0.35)):
        knots = np.sort(rng.uniform(-2, 2, count)) * scene.radius
        teeth = rng.uniform(-1, 1, count) * share * amplitude
        heights = heights + np.interp(_TEETH * scene.radius, knots, teeth)
    at = np.clip((scene.across / scene.radius + 2) * (len(_TEETH) - 1) / 4, 0, len(_TEETH) - 1)
    return heights.astype("f4")[np.rint(at).astype("i4")]


def _below(scene, height, soft):
    """1 below the line `y = level + height`, 0 above it, over `soft` mm."""
    return np.clip((scene.y[:, None] - scene.level - height) / soft + 0.5, 0, 1).astype("f4")


def _break(scene, rng, slope, severity):
    """A clean break: a jagged gap of removed bone across the whole shaft."""
    gap = scene.radius * (0.1 + 0.13 * severity)
    height = slope * scene.across + _jagged(scene, rng, 0.16 * scene.radius)
    away = np.abs(scene.y[:, None] - scene.level - height) / math.hypot(1, slope)
    open_gap = np.clip((gap / 2 - away) / scene.step + 0.5, 0, 1)
    return scene.maps * (1 - open_gap * (0.55 + 0.3 * severity)).astype("f4")


def _spiral(scene, rng, turn, severity):
    """A helix round the shaft: its front and back halves cross in the image."""
    gap = scene.radius * (0.1 + 0.12 * severity)
    pitch = scene.radius * rng.uniform(2.6, 3.6)
    phase = np.arcsin(np.clip(scene.across / scene.radius, -1, 1)) / np.pi
    jag = _jagged(scene, rng, 0.1 * scene.radius)
    remaining = 1.0
    for height, depth in ((pitch * phase, 0.9), (-0.4 * pitch * phase, 0.35)):
        slant = math.hypot(1, pitch / (2 * scene.radius))
        away = np.abs(scene.y[:, None] - scene.level - turn * height - jag) / slant
        open_gap = np.clip((gap / 2 - away) / scene.step + 0.5, 0, 1)
        remaining = remaining * (1 - depth * (0.55 + 0.3 * severity) * open_gap)
    return scene.maps * remaining.astype("f4")


def _displaced(scene, rng, slope, shift, severity):
    """The far fragment swings about its joint, the near one slides past it: fragments overlap or part.

    Returns:
        The maps, and the float32 mask of both fragments' ends, which is what the box goes round.
    """
    height = slope * scene.across + _jagged(scene, rng, 0.16 * scene.radius)
    below = _below(scene, height, 1.5 * scene.step)
    offset = shift * scene.radius * (0.25 + 0.4 * severity)
    angle = float(np.clip(-np.rad2deg(offset / (scene.end - scene.level)), -14, 14))
    slide = float(rng.choice([-0.16, 0.2])) * rng.uniform(0.3, 1) * scene.radius
    pivot = (scene.hinge, scene.end)
    ends = np.abs(scene.y[:, None] - scene.level - height) < 0.35 * scene.radius
    ends = (ends & (scene.maps[0] > 0)).astype("f4")
    near, far = 1 - below, below
    top = scene.move([*(scene.maps * near), ends * near], 0, (0, slide), pivot)
    bottom = scene.move([*(scene.maps * far), ends * far], angle, (0, 0), pivot)
    both = top + bottom
    return both[:2], both[2]


def _comminuted(scene, rng, slope, severity):
    """Two breaks, and the piece between them in three or four splinters pushed apart."""
    half = scene.radius * rng.uniform(0.5, 0.9)
    soft = 1.2 * scene.step
    first = _below(scene, -half + slope * scene.across + _jagged(scene, rng, 0.2 * scene.radius), soft)
    last = _below(scene, half - slope * scene.across + _jagged(scene, rng, 0.2 * scene.radius), soft)
    middle = first * (1 - last)
    maps = scene.maps * np.maximum(1 - first, last)
    lean = float(rng.choice([-1, 1]) * rng.uniform(0.4, 0.9))
    along = scene.y[:, None] - scene.level
    cut = np.clip((scene.across - lean * along) / soft + 0.5, 0, 1)
    split = np.clip((along + lean * scene.across * 0.5 - rng.normal(0, 0.1)) / soft + 0.5, 0, 1)
    for side, part in ((-1, (1 - cut) * split), (-1, (1 - cut) * (1 - split)), (1, cut)):
        push = scene.radius * (0.05 + 0.1 * severity) * rng.uniform(0.6, 1.2)
        pivot = (scene.centre + side * 0.5 * scene.radius, scene.level)
        shift = (side * push, rng.normal(0, 0.15) * scene.radius)
        pieces = scene.maps * (middle * part).astype("f4")
        maps = maps + scene.move(pieces, rng.normal(0, 2 + 3 * severity), shift, pivot)
    return maps


def _blob(scene, rng, dx, dy, rx, ry, rough, edge):
    """A lump with an uneven rim: 1 inside, 0 outside, `edge` (share of its radius) wide in between."""
    dx, dy, rx, ry = map(float, (dx, dy, rx, ry))
    u, v = (scene.across - dx) / rx, (scene.y[:, None] - scene.level - dy) / ry
    turn = np.arctan2(v, u)
    rim = 1 + sum(rough / k * np.cos(k * turn + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5))
    return np.clip((rim - np.sqrt(u * u + v * v)) / edge, 0, 1).astype("f4")


def _lytic(scene, rng, side, moth_eaten, severity):
    """Bone eaten away: one hole with a clear rim, or many small ones that run together."""
    r, remaining, rim = scene.radius, 1.0, 0.0
    if moth_eaten:
        for _ in range(rng.integers(11, 18)):
            size = r * rng.uniform(0.22, 0.42) * (0.85 + 0.3 * severity)
            at = rng.normal(0, 0.42, 2) * r * (1, 2.2)
            long = size * rng.uniform(1, 1.6)
            hole = _blob(scene, rng, side * 0.15 * r + at[0], at[1], size, long, 0.15, 0.4)
            remaining = remaining * (1 - (0.35 + 0.35 * severity) * hole)
    else:
        size = r * (0.45 + 0.2 * severity)
        long = size * rng.uniform(1.2, 1.9)
        hole = _blob(scene, rng, side * 0.3 * r, 0, size, long, 0.1, 0.22)
        remaining = 1 - (0.35 + 0.35 * severity) * hole
        rim = 0.12 * r * hole * (1 - hole) * 4
    inside = scene.maps[0] + scene.maps[1] > 0
    maps = scene.maps * remaining
    maps[0] += rim * inside
    return maps


def _sclerotic(scene, rng, side, severity):
    """Bone laid down: one or two dense clouds inside the outline."""
    r, dense = scene.radius, 0.0
    for scale, dy in ((1, 0), (rng.uniform(0.3, 0.7), rng.uniform(-1.6, 1.6) * r)):
        size = scale * r * (0.45 + 0.2 * severity)
        long = size * rng.uniform(1.2, 2)
        dense = np.maximum(dense, _blob(scene, rng, side * 0.25 * r, dy, size, long, 0.2, 0.45))
    maps = scene.maps.copy()
    room = np.clip((r - np.abs(scene.across)) / (0.25 * r), 0, 1)
    maps[0] += dense * room * r * (0.45 + 0.5 * severity)
    maps[1] *= 1 - 0.5 * dense
    return maps


def apply(scene, kind, frontal, rng):
    """Puts a finding into a bone.

    Args:
        scene: The intact bone; left as it is.
        kind: One of `KINDS`.
        frontal: Which of the two projections of the same finding: slopes and shifts differ between them.
        rng: Generator of the finding; every view must get one in the same state.

    Returns:
        `(maps, ends)`: float32 `(2, rows, columns)` in mm, and None, or for a kind that moves bone far from
        the break the float32 `(rows, columns)` mask of the fragments' ends.
    """
    severity = rng.uniform(-0.25, 1)  # below 0: easily missed
    slopes = rng.uniform(-1, 1, 2)
    shifts = rng.choice([-1, 1], 2) * rng.permutation([1.0, rng.uniform(0.4, 0.9)])
    view = 0 if frontal else 1
    slope, shift = float(slopes[view]), float(shifts[view])
    steep = np.copysign(0.7 + 0.4 * abs(slope), slope)
    if kind == "transverse":
        return _break(scene, rng, 0.25 * slope, severity), None
    if kind == "oblique":
        return _break(scene, rng, steep, severity), None
    if kind == "spiral":
        return _spiral(scene, rng, math.copysign(1, slopes[0]), severity), None
    if kind == "displaced":
        return _displaced(scene, rng, 0.5 * slope, shift, severity)
    if kind == "comminuted":
        return _comminuted(scene, rng, 0.5 * slope, severity), None
    if kind == "lytic":
        return _lytic(scene, rng, shift, slopes[0] > 0, severity), None
    return _sclerotic(scene, rng, shift, severity), None
