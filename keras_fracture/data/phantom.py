"""`phantom`, the embedded data set: radiographs drawn by code, with exact boxes, deterministic from a seed.

An image is drawn the way an X-ray is made. Bones and soft tissue become a map of attenuation
(`phantom_anatomy`), a finding changes one bone (`phantom_findings`), the patient is laid down a little
crooked, and Beer-Lambert, the detector's blur, photon noise and a film curve turn the map into grey levels.
Things that are no finding (growth plates, vessel canals, bone islands, skin folds, wires, casts) come alike
in both classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import special

from keras_fracture.data import phantom_anatomy as anatomy
from keras_fracture.data import phantom_findings as findings
from keras_fracture.errors import DataError

SOURCES = 576  # to learn from: 1,728 images at seed 0
TEST_SOURCES = 2000  # to test on: one image each
_FIRST_HELD_OUT = 100_000  # their numbers, so that more to learn from leave them as they are
CANVAS = 1.3  # side of the canvas over the side of the detector, so that a turned limb still fills it
_SHOTS = (2, 3, 4)
_QUANTILES = special.ndtri((np.arange(2**16) + 0.5) / 2**16).astype("f4")
_LETTERS = {
    "L": [[(0, 0), (0, 1), (0.55, 1)]],
    "R": [
        [(0, 1), (0, 0), (0.4, 0), (0.58, 0.14), (0.58, 0.38), (0.4, 0.52), (0, 0.52)],
        [(0.28, 0.52), (0.6, 1)],
    ],
}  # lines in letter heights: a font would differ from one OpenCV to the next


@dataclass(frozen=True)
class Source:
    """One person's limb, of which several images are taken.

    Attributes:
        index: Number of the source, from 0.
        body_part: One of `phantom_anatomy.PARTS`.
        finding: "none" or one of `phantom_findings.KINDS`.
        shots: How many images can be taken; even ones are frontal, odd ones lateral.
    """

    index: int
    body_part: str
    finding: str
    shots: int

    @property
    def name(self):
        return f"phantom_{self.index:05d}"

    @property
    def held_out(self):
        """Whether it is there to test on, with one image."""
        return self.index >= _FIRST_HELD_OUT

    @property
    def taken(self):
        """The numbers of the images that are taken of it."""
        return (self.index // 2 // len(anatomy.PARTS) % 2,) if self.held_out else range(self.shots)


def plan(seed=0, sources=SOURCES, test_sources=0):
    """Deals out body parts, findings and numbers of images.

    Sources come in pairs of one body part and one number of images, one of the two healthy: so labels
    balance within every body part and view.

    Args:
        seed: Non-negative integer.
        sources: Number of sources, at least 1. With an even number the classes are exactly as large.
        test_sources: Number of further ones to test on.

    Returns:
        A list of `Source`.
    """
    if sources < 1 or seed < 0:
        raise DataError(f"sources must be at least 1 and seed not negative. Received: {sources}, {seed}")
    parts, kinds, table = anatomy.PARTS, findings.KINDS, []
    for index in (*range(sources), *range(_FIRST_HELD_OUT, _FIRST_HELD_OUT + test_sources)):
        pair = index // 2
        rng = np.random.default_rng([seed, pair, 0])
        finding = kinds[pair // len(parts) % len(kinds)] if (index + rng.integers(2)) % 2 else "none"
        shots = _SHOTS[(pair + pair // len(parts)) % len(_SHOTS)]
        table.append(Source(index, parts[pair % len(parts)], finding, shots))
    return table


class Records(Sequence):
    """The images of a plan, drawn when asked for; item `i` costs the same whichever were drawn before.

    Drawing releases Python's lock for most of its time, so `concurrent.futures.ThreadPoolExecutor.map` helps.

    Args:
        seed: Non-negative integer.
        sources: Number of sources; a source makes 2 to 4 images.
        size: Side of the images in pixels.
        test_sources: Number of further ones to test on, with one image each.
    """

    def __init__(self, seed=0, sources=SOURCES, size=256, test_sources=0):
        self.seed, self.size = seed, size
        self._shots = [
            (source, shot) for source in plan(seed, sources, test_sources) for shot in source.taken
        ]

    def __len__(self):
        return len(self._shots)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        source, shot = self._shots[index]
        return draw(source, shot, self.seed, self.size)


def records(seed=0, sources=SOURCES, size=256, test_sources=0):
    """Returns the data set as a sequence of records (see `draw`), each drawn when it is asked for."""
    return Records(seed, sources, size, test_sources)


def draw(source, shot, seed=0, size=256, finding=True, noise=True):
    """Takes one image of a source.

    Args:
        source: A `Source`.
        shot: Number of the image, from 0; even ones are frontal, odd ones lateral.
        seed: Seed of the data set.
        size: Side of the image in pixels, at least 32.
        finding: False draws the same limb before the finding: nothing else in the image changes.
        noise: False leaves the photon noise out.

    Returns:
        A dict: `image` uint8 `(size, size, 1)`; `label` 0 healthy, 1 finding; `source`, `body_part`, `view`,
        `finding`, `filename` str; `published_split` "test" where the source is held out, else ""; `boxes`
        float32 `(n, 4)`, ymin, xmin, ymax, xmax from 0 to 1. A box is the smallest round every pixel whose
        noise-free grey level the finding changed; a displaced fracture, which moves the whole far fragment,
        has its box round the fragments' broken ends.

    Raises:
        DataError: No such shot, or the image would be too small.
    """
    if size < 32 or not 0 <= shot < source.shots:
        raise DataError(f"size must be at least 32 and shot below {source.shots}. Received: {size}, {shot}")
    kind = source.finding if finding else "none"
    view = anatomy.VIEWS[shot % 2]
    healthy, hurt, ends, film = _attenuation(source, kind, view, seed, size)
    camera = _Camera(np.random.default_rng([seed, source.index, 3, shot]), film, size)
    before = camera.expose(healthy)
    after, boxes = before, np.zeros((0, 4), "f4")
    if hurt is not None:
        after = camera.expose(hurt)
        boxes = _boxes(camera, before, after, ends)
    return {
        "image": camera.develop(after, noise)[..., None],
        "label": int(kind != "none"),
        "source": source.name,
        "body_part": source.body_part,
        "view": view,
        "finding": kind,
        "boxes": boxes,
        "filename": f"{source.name}_{shot}_{view}.png",
        "published_split": "test" if source.held_out else "",
    }


def _boxes(camera, before, after, ends):
    """The box round what changed, normalised, `(0 or 1, 4)`."""
    if ends is not None:
        changed = camera.warp(ends) > 0.5
    else:
        changed = camera.develop(before, False) != camera.develop(after, False)
    if not changed.any():
        return np.zeros((0, 4), "float32")
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    box = [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
    return np.array([box], "float32") / len(changed)


def _attenuation(source, kind, view, seed, size):
    """Draws the limb on the canvas.

    Returns:
        float32 maps of attenuation (no unit) without and with the finding (None if there is none), the mask
        of fragments' ends or None, and what the film is set to: attenuation of soft tissue and of bone.
    """
    rng = np.random.default_rng([seed, source.index, 1])
    limb = anatomy.limb(source.body_part, view, rng)
    count = int(size * CANVAS)
    y = ((np.arange(count) - count / 2 + 0.5) * limb.field / size).astype("f4")
    x = y
    scene = findings.Scene(limb, x, y, limb.field * rng.uniform(-0.3, 0.02))
    bones = np.zeros((2, count, count), "f4")
    for bone in limb.balls + limb.bones[1:]:
        bone.add_to(bones, x, y)
    flesh = anatomy.soft_tissue(limb, x, y, rng)
    healthy = flesh + _over(flesh, x, y, rng, limb)
    marrow = _grain(rng, count)
    marrow *= anatomy.MARROW / anatomy.CORTICAL
    bones[..., scene.columns] += scene.maps + _normal_variants(scene, limb, rng)
    bones[1] *= marrow
    healthy += (anatomy.CORTICAL - anatomy.MUSCLE) * (bones[0] + bones[1])

    soft = (limb.half[0] + limb.half[1]) * limb.depth * anatomy.MUSCLE
    film = (soft, scene.radius * 1.6 * (anatomy.CORTICAL - anatomy.MUSCLE))
    if kind == "none":
        return healthy, None, None, film
    rng = np.random.default_rng([seed, source.index, 2])
    maps, ends = findings.apply(scene, kind, view == "frontal", rng)
    change, hurt = maps - scene.maps, healthy.copy()
    change = change[0] + marrow[:, scene.columns] * change[1]
    hurt[:, scene.columns] += (anatomy.CORTICAL - anatomy.MUSCLE) * change
    if ends is not None:
        ends = np.pad(ends, ((0, 0), (scene.columns.start, count - scene.columns.stop)))
    return healthy, hurt, ends, film


def _normal_numbers(rng, shape):
    """Numbers of a normal distribution, float32, from 16 random bits each: a fraction of a generator's own time."""
    return _QUANTILES.take(rng.integers(2**16, size=shape, dtype="u2"))


def _grain(rng, count):
    """Trabecular texture: fine struts along the bone and across it, mean 1."""
    struts = cv2.GaussianBlur(_normal_numbers(rng, (count, count)), (7, 7), 0.8, sigmaY=1.5)
    struts *= 0.5
    struts += 1
    return np.maximum(struts, 0, out=struts)


def _normal_variants(scene, limb, rng):
    """Marks of a healthy bone that a hasty reader takes for a finding, mm of bone to add."""
    shaft, along = limb.bones[0], scene.y[:, None] - scene.level
    extra = np.zeros_like(scene.maps)
    bone = (scene.maps.sum(0) > 0).astype("f4")
    chance, amount = rng.uniform(0, 1, 6).tolist(), rng.uniform(0.4, 1, 6).tolist()
    away = scene.y[:, None] - (shaft.end - 0.55 * shaft.flare) - 0.03 * scene.across**2 / scene.radius
    if chance[0] < 0.4:  # the scar of the growth plate
        extra[0] += bone * amount[0] * 0.2 * scene.radius * np.exp(-((away / 0.9) ** 2))
    elif chance[0] < 0.7:  # a child's growth plate, still open
        wave = 0.6 * np.sin(scene.across / scene.radius * 3 + 6 * amount[1])
        extra -= 0.75 * amount[0] * np.exp(-(((away + wave) / 1.1) ** 2)) * scene.maps
    for number in range(2):
        if chance[1 + number] < 0.5:  # the canal of a feeding vessel, in one wall
            side, at = float(rng.choice([-1, 1])), rng.uniform(-4, 4) * scene.radius
            away = scene.across - side * (0.75 * scene.radius - 0.25 * (along - at))
            canal = np.exp(-((away / 0.7) ** 2)) * (np.abs(along - at) < 1.1 * scene.radius)
            extra -= amount[2 + number] * 0.6 * canal * scene.maps
    if chance[3] < 0.4:  # a bone island
        at = rng.uniform(-0.5, 0.5) * scene.radius, rng.uniform(-0.8, 0.8) * (scene.end - scene.level)
        away = np.hypot(scene.across - at[0], (along - at[1]) / 1.4) / (0.2 * scene.radius)
        extra[0] += bone * amount[4] * 0.35 * scene.radius * np.clip(1.3 - away, 0, 1)
    return extra.astype("f4")


def _over(flesh, x, y, rng, limb):
    """Attenuation of what lies over the `flesh`: a cast, a fold of skin or the hem of a sleeve."""
    x, y, layer = x[None], y[:, None], np.zeros_like(flesh)
    chance, at = rng.uniform(0, 1, 3).tolist(), rng.uniform(-1, 1, 4).tolist()
    if chance[0] < 0.06:  # a cast: uneven plaster that starts somewhere on the limb
        weave = cv2.GaussianBlur(_normal_numbers(rng, layer.shape), (9, 9), 1.6, sigmaY=1.2)
        start = (at[0] * 0.2 - 0.3) * limb.field + 0.04 * x
        layer += (0.3 + 0.22 * weave) * np.clip((y - start) / 3, 0, 1)
    for _ in range(rng.integers(0, 4)):  # folds of skin, hems, edges of muscles: they go on beyond the bone
        at = rng.uniform(-1, 1, 4).tolist()
        away = y - at[1] * 0.5 * limb.field - at[2] * 0.9 * x - 5 * np.sin(x / 25 + 3 * at[3])
        fading = np.exp(-np.maximum(away, 0) / rng.uniform(1.5, 8))
        fading *= np.clip(away / 1.2 + 0.5, 0, 1)
        layer += at[0] * 0.14 * fading
    return layer * np.clip(4 * flesh, 0, 1)


def _lines(canvas, lines, value, thickness):
    """Draws smooth polylines, each `(n, 2)` x, y in pixels, on a uint8 canvas."""
    points = [np.int32(np.rint(line * 8)) for line in lines]
    cv2.polylines(canvas, points, False, value, thickness, cv2.LINE_AA, 3)


class _Camera:
    """One exposure: where the limb lies, how hard the beam is, how the film responds.

    Args:
        rng: Generator of the image.
        film: Attenuation of soft tissue and of bone to set the film to.
        size: Side of the image in pixels.
    """

    def __init__(self, rng, film, size):
        self.size, self.grains = size, rng.integers(2**62)
        count = int(size * CANVAS)
        self.matrix = cv2.getRotationMatrix2D(
            (count / 2 - 0.5, count / 2 - 0.5), rng.normal(0, 7), rng.uniform(1.05, 1.35)
        )
        self.matrix[:, 2] += rng.uniform(-0.08, 0.08, 2) * size - (count - size) / 2
        self.blur = size / 256 * rng.uniform(0.5, 1.1)
        soft, bone = film
        self.soft = soft
        self.mid = soft * rng.uniform(0.95, 1.05) + bone * rng.uniform(0.45, 0.55)
        self.width = (0.11 * soft + 0.13 * bone) * rng.uniform(0.85, 1.15)
        self.toe = rng.uniform(0.2, 0.32)
        self.photons = rng.uniform(3000, 20000) * np.exp(soft)
        self.darkest, self.brightest = rng.uniform(0, 14), rng.uniform(225, 255)
        self.stamp, self.opaque = np.float32(rng.uniform(235, 255)), self._marks(rng)
        self.shutter, self.light = np.float32(rng.uniform(2, 12)), self._collimator(rng)

    def _marks(self, rng):
        """The lead letter and wires: how opaque they are, 0 to 1, `(size, size)`."""
        size = self.size
        opaque = np.zeros((size, size), "uint8")
        letter, at_right, at_bottom = rng.choice(["L", "R"]), *rng.integers(0, 2, 2)
        tall = size * rng.uniform(0.05, 0.075)
        corner = rng.uniform(0.04, 0.1, 2) * size
        corner = np.where([at_right, at_bottom], size - corner - (0.6 * tall, tall), corner)
        if rng.uniform() < 0.85:
            strokes = [corner + np.array(line) * tall for line in _LETTERS[letter]]
            _lines(opaque, strokes, 245, max(1, round(0.16 * tall)))
        if rng.uniform() < 0.05:  # the wire of an electrode
            ends, t = rng.uniform(0, 1, (4, 2, 1)) * size, np.linspace(0, 1, 40)
            ends[:, rng.integers(2)] = np.array([[-0.1], [0.3], [0.7], [1.1]]) * size
            weights = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
            curve = sum(w * e for w, e in zip(weights, ends, strict=True)).T
            _lines(opaque, [curve], 180, max(1, size // 128))
        return opaque.astype("f4") / 255

    def _collimator(self, rng):
        """How far the shutters let light through, 0 to 1: `(size, size)`, or 1 if they are wide open."""
        if rng.uniform() > 0.25:
            return np.float32(1)
        shade, grid = rng.uniform(0, 0.09, 4) * self.size, np.arange(self.size, dtype="f4")
        rows = np.clip(np.minimum(grid - shade[0], self.size - shade[1] - grid) / 2, 0, 1)
        columns = np.clip(np.minimum(grid - shade[2], self.size - shade[3] - grid) / 2, 0, 1)
        return rows[:, None] * columns

    def warp(self, canvas):
        """Moves the canvas under the detector: `(size, size)`."""
        return cv2.warpAffine(canvas, self.matrix, (self.size, self.size), borderMode=cv2.BORDER_REPLICATE)

    def expose(self, attenuation):
        """Returns attenuation as the detector sees it, before noise: float32 `(size, size)`."""
        light = cv2.GaussianBlur(np.exp(-self.warp(attenuation)), (0, 0), self.blur)
        return -np.log(light)

    def develop(self, attenuation, noise):
        """Returns grey levels, uint8 `(size, size)`, bone bright."""
        if noise:
            grains = _normal_numbers(np.random.default_rng(self.grains), attenuation.shape)
            attenuation = attenuation + grains * np.exp(0.5 * attenuation) * np.float32(self.photons**-0.5)
        level = (1 - self.toe) / (1 + np.exp((self.mid - attenuation) / self.width))
        level += self.toe * (1 - np.exp(-1.5 / self.soft * np.maximum(attenuation, 0)))
        level = self.darkest + (self.brightest - self.darkest) * level
        level = level * self.light + self.shutter * (1 - self.light)
        level += (self.stamp - level) * self.opaque
        return np.clip(np.rint(level), 0, 255).astype("uint8")
