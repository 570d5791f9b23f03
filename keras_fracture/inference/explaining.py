"""How often a classifier's heat maps lie on the finding, against chance: on images whose findings have boxes."""

import numpy as np
import tensorflow as tf

from keras_fracture import evaluation
from keras_fracture.data import decoding
from keras_fracture.errors import EvaluationError
from keras_fracture.evaluation.bootstrap import Clusters, of_none_or_all
from keras_fracture.inference import heat, scoring
from keras_fracture.models.preprocessing import scale
from keras_fracture.progress import Bar
from keras_fracture.report.markdown import counted
from keras_fracture.serving import loading
from keras_fracture.serving.metadata import finding_of, preparation

GRIDS = (7, 14)  # squares a side of occlusion: as `predict --explain occlusion` has them, and finer
_BATCH = 16


def measure(model, records, table, which=None):
    """Grad-CAM, Grad-CAM++ and occlusion, each by the pointing game and by its overlap with boxes.

    Args:
        model: As in `scoring.evaluate`.
        records: The `data.Records` that were asked about.
        table: Of `scoring.evaluate`, or some of its rows, with their index.
        which: As in `scoring.evaluate`.

    Returns:
        A dict: `images` (how many), `sources` (X-rays that they are of), `side` (pixels that the network takes), `auc`
        (of `table`), and `rows`, a dict a method: `method`, `pointing` (`evaluation.pointing_game`), `overlap`
        (`evaluation.box_overlap`), dicts of `value`, `low`, `high` and `chance` (random pixels), of the former also
        `chance_of_others` (other X-rays' heat), and `without` (images on which there is no heat).

    Raises:
        ModelError: It is no model of this package.
        EvaluationError: Fewer than two X-rays have a box round a finding, the model crops images (and so boxes), or it
            is no classifier that has such maps.
    """
    network, images, boxes, clusters, finding = _shown(model, records, table, which)
    methods = {
        name: lambda batch, heat_of=heat_of: heat_of(network, scale(batch, network.pixel_range), finding)
        for name, heat_of in (
            ("Grad-CAM", evaluation.gradcam),
            ("Grad-CAM++", evaluation.gradcam_plus_plus),
        )
    }
    for grid in GRIDS:
        methods[f"occlusion, {grid} x {grid}"] = lambda batch, grid=grid: occlusion(
            network, batch, grid, finding
        )
    rows = []
    for name, method in methods.items():
        starts = Bar(range(0, len(images), _BATCH), name, unit=f" batches of {_BATCH} images")
        heats = np.concatenate([method(images[start : start + _BATCH]) for start in starts])
        overlaps, by_chance = evaluation.box_overlap(heats, boxes)
        rows.append({
            "method": name,
            "pointing": _pointing(heats, boxes, clusters),
            "overlap": _mean(overlaps, clusters) | {"chance": float(by_chance.mean())},
            "without": int((heats.max((1, 2)) == 0).sum()),
        })  # fmt: skip
    auc = evaluation.scores(scoring.predictions(table, 0.5), ("auc",))["auc"]
    side = int(images.shape[1])
    return {"images": len(images), "sources": clusters.count, "side": side, "auc": auc, "rows": rows}


def pointing(model, records, table, which=None):
    """How often the hottest point of Grad-CAM lies on a finding's box.

    Args:
        model: As in `measure`, and so are the others.
        records: See there.
        table: See there.
        which: See there.

    Returns:
        A dict of `value`, `low`, `high`, `chance` and `chance_of_others` (what a random point, and other images' maps,
        would reach) and `images`.

    Raises:
        ModelError: As `measure`.
        EvaluationError: As `measure`.
    """
    network, images, boxes, clusters, finding = _shown(model, records, table, which)
    parts = [
        scale(images[start : start + _BATCH], network.pixel_range) for start in range(0, len(images), _BATCH)
    ]
    heats = np.concatenate([evaluation.gradcam(network, part, finding) for part in parts])
    return _pointing(heats, boxes, clusters) | {"images": len(heats)}


def occlusion(network, images, grid, finding=-1):
    """By how much a finding's probability falls with a square greyed out, see `heat.occlusion_effect`.

    Args:
        network: A Keras classifier of this package with one or two logits.
        images: uint8 `(n, size, size, channels)`, prepared.
        grid: Squares a side.
        finding: Index of the finding's logit; the last one by default.

    Returns:
        float32 `(n, size, size)`, the highest of each image 1; all 0 where no square speaks for a finding.
    """
    size, effects = images.shape[1], []
    probabilities = tf.function(lambda batch: _findings(network, batch, finding))
    before = probabilities(tf.constant(images)).numpy()
    grey = images.mean((1, 2), keepdims=True)
    for row in range(grid):
        for column in range(grid):
            asked = images.copy()
            asked[:, heat.square(row, grid, size), heat.square(column, grid, size)] = grey
            effects.append(np.maximum(before - probabilities(tf.constant(asked)).numpy(), 0))
    drops = np.stack(effects, axis=1).reshape(-1, grid, grid, 1)
    drops = tf.image.resize(drops, (size, size), "bilinear")[..., 0].numpy()
    return drops / np.maximum(drops.max((1, 2), keepdims=True), 1e-12)


def with_boxes(known):
    """The findings of a table that have a box."""
    return known[(known["label"] == 1) & (known["boxes"].map(len) > 0)]


def missing_boxes(known, where="these images"):
    """What a table lacks for heat maps to be compared with boxes, in words; None where it has those of two X-rays.

    Args:
        known: As of `data.Records.table`.
        where: What it is the table of.
    """
    findings, boxed = int((known["label"] == 1).sum()), with_boxes(known)
    if boxed["source"].nunique() > 1:
        return None
    if len(boxed):
        has = "has a box" if len(boxed) == 1 else "have a box, all of one X-ray"
        return f"it takes those of two X-rays, and {len(boxed)} of {counted(findings, 'finding')} in {where} {has}"
    none = f"none of the {counted(findings, 'finding')} in {where} has a box"
    return f"{none} (columns xmin, ymin, xmax, ymax; VOC, COCO or YOLO files)"


def decoded(records, positions, decode=lambda data: decoding.decode(data).image):
    """(position, uint8 image) of some records; `decode` is a function of a file's bytes."""
    positions = set(positions)
    for position, record in enumerate(records.raw(["image"]).as_numpy_iterator()):
        if position in positions:
            yield position, decode(record["image"])


def _shown(model, records, table, which):
    """The network, the images as it takes them, the boxes in them, which are of one X-ray, the finding's index."""
    version, facts = scoring.find(model, which)
    preprocess, _ = preparation(version)
    if preprocess.crop:
        raise EvaluationError(
            "Boxes are followed through padding alone. Received: a model that crops its images"
        )
    known = records.table.loc[table.index]
    if missing := missing_boxes(known):
        raise EvaluationError(
            f"Heat maps are compared with boxes of findings: {missing}. Received: {counted(len(known), 'image')}"
        )
    known = with_boxes(known)
    clusters = Clusters(known["source"].to_numpy(str))
    images = np.stack([preprocess(image) for _, image in decoded(records, known.index, preprocess.decode)])
    boxes = [decoding.fit_boxes(row.boxes, row.height, row.width) for row in known.itertuples()]
    return loading.as_saved(version), images, boxes, clusters, finding_of(facts, version)


def _pointing(heats, boxes, clusters):
    hits = evaluation.pointing_game(heats, boxes)
    return _mean(hits, clusters) | {
        **({} if 0 < hits.sum() < len(hits) else of_none_or_all(hits[0], clusters.count)),
        "chance": evaluation.chance(boxes, heats.shape[1:]),
        "chance_of_others": evaluation.chance_of_others(heats, boxes, sources=clusters.codes),
    }


def _mean(values, clusters):
    return clusters.interval(lambda weights, _: float((values * weights).sum() / weights.sum()))


def _findings(network, images, finding):
    """A finding's probability, `(n,)`."""
    logits = tf.cast(network(scale(images, network.pixel_range), training=False), tf.float32)
    if logits.shape[-1] > 2:
        raise EvaluationError(f"The model must give one or two logits. Received: {logits.shape[-1]}")
    return (tf.sigmoid(logits) if logits.shape[-1] == 1 else tf.nn.softmax(logits))[:, finding]
