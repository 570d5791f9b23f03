"""Who plays the three bones of `gupta_unit`, and which images are trained on: its Table 1 on public data."""

import dataclasses

import numpy as np

from keras_fracture.data import splits
from keras_fracture.errors import FractureError
from keras_fracture.experiment.splits import Split


@dataclasses.dataclass(frozen=True)
class Role:
    """Images that stand for a bone of the paper.

    Attributes:
        name: What the part is called.
        region: `body_part` of its images.
        bone: `bone` of its images with a lesion, or None for any: BTXRD names bones on those alone, so that
            two bones share the healthy images of their region.
    """

    name: str
    region: str
    bone: str | None = None


# In the place of humerus, tibia and femur: translator and filter of the first are lent to the others.
ROLES = {
    "btxrd": (
        Role("upper limb", "upper limb"),
        Role("tibia", "lower limb", "tibia"),
        Role("femur", "lower limb", "femur"),
    ),
    "fracatlas": (Role("leg", "leg"), Role("hip", "hip"), Role("shoulder", "shoulder")),
    "phantom": (Role("humerus", "humerus"), Role("tibia", "tibia"), Role("femur", "femur")),
}
BONES = ("humerus", "tibia", "femur")
# Training images with a lesion to those without, Table 1.
RATIOS = (268 / 2295, 214 / 14482, 32 / 4558)


@dataclasses.dataclass(frozen=True)
class Part:
    """One body part.

    Attributes:
        name: As in `Role`.
        bone: The paper's, one of `BONES`.
        train: What classifiers learn from; lesions as rare as in the paper.
        validation: For thresholds.
        test: Never chosen by.
        pool: Images with a lesion on the training side, those with hardware and those `train` leaves out too:
            what the translator learns from. The paper's saw 2 to 9 times as many lesions as its classifier.
    """

    name: str
    bone: str
    train: Split
    validation: Split
    test: Split
    pool: Split

    @property
    def folder(self):
        """The name in paths."""
        return self.name.replace(" ", "-")


def parts_of(images, data, shares, min_lesions, seed):
    """The three parts of a data set.

    Args:
        images: The whole data set as a `Split`.
        data: Its name, a key of `ROLES`, or the path of own X-rays.
        shares: Of training, validation and test, dealt out by source: a source is on the same side in all parts,
            for the translator and filter of the first are lent to the others.
        min_lesions: Training images with a lesion that a part keeps where the paper's ratio would leave fewer.
        seed: Of the dealing.

    Returns:
        A list of three `Part`.

    Raises:
        FractureError: Boxes in fewer than three body parts, or a split of a part would lack a class.
    """
    roles = ROLES.get(data) or _most_boxes(images, data)
    sides = {}
    return [
        _part(images, role, bone, shares, ratio, min_lesions, seed, data, sides)
        for role, bone, ratio in zip(roles, BONES, RATIOS, strict=True)
    ]


def without_hardware(split):
    """Which images show no hardware, bool `(n,)`: all where that is not known."""
    table = split.table
    return ~table["hardware"].to_numpy(bool) if "hardware" in table else np.ones(len(table), bool)


def _most_boxes(images, data):
    """The three body parts of own X-rays that have most images with boxes, the first of them first."""
    boxed = images.table["boxes"].map(len) > 0
    counts = (
        images.table["body_part"][boxed]
        .value_counts()
        .sort_index()
        .sort_values(ascending=False, kind="stable")
    )
    if len(counts) < len(BONES):
        raise FractureError(
            f"gupta_unit needs boxes in three body parts: choose one of {', '.join(ROLES)}, or own X-rays with "
            f"a column body_part. Received: {data!r}, with boxes in {', '.join(counts.index) or 'none'}"
        )
    return [Role(name, name) for name in counts.index[: len(BONES)]]


def _part(images, role, bone, shares, ratio, min_lesions, seed, data, sides):
    table = images.table
    chosen = (table["body_part"] == role.region).to_numpy()
    if role.bone:
        chosen &= (images.labels == 0) | (table["bone"] == role.bone).to_numpy()
    own = images.take(chosen)
    if "synthetic" in table and own.table["synthetic"].all() and not table["synthetic"].all():
        raise FractureError(
            f"gupta_unit tests on real images of each part: give some of {role.name}, or leave it out. Received: "
            f"{len(own.labels):,} images, all of them synthetic"
        )
    # Hardware is left out of classification, but not of the patches (Section 3).
    plain = without_hardware(own)
    split = _deal(own, role, shares, seed, data, sides, images.sources[splits.synthetic(table)], plain)
    healthy = np.flatnonzero((split == "train") & (own.labels == 0) & plain)
    lesions = np.flatnonzero((split == "train") & (own.labels == 1) & plain)
    wanted = max(min_lesions, round(ratio * len(healthy)))
    order = np.random.default_rng([seed, 1]).permutation(
        np.unique(own.sources[lesions])
    )  # the split is dealt by seed
    # Whole sources, so that what is left out is left out of both.
    rank = {source: number for number, source in enumerate(order)}
    by_source = np.array([rank[source] for source in own.sources[lesions]])
    rare = lesions[np.argsort(by_source, kind="stable")][:wanted]
    return Part(
        role.name,
        bone,
        own.take(np.sort(np.concatenate([healthy, rare]))),
        own.take((split == "validation") & plain),
        own.take((split == "test") & plain),
        own.take((split == "train") & (own.labels == 1)),
    )


def _deal(own, role, shares, seed, data, sides, made, plain):
    """The split of each image; sources that an earlier part dealt out keep their side, which `sides` remembers.

    `made` are the sources of synthetic images of any part: they are trained on in all.
    """
    facts = {"label": own.labels, "published_split": "", "synthetic": np.isin(own.sources, made)}
    if len(made) and facts["synthetic"].all():
        raise FractureError(
            "gupta_unit tests on real X-rays or patients of which none is synthetic. Received: "
            f"{role.name}, where each has a synthetic image in some part"
        )
    split = splits.assign(own.table.assign(**facts), "grouped", shares, seed, data)
    split = np.array([sides.get(source, side) for source, side in zip(own.sources, split, strict=True)])
    sides.update(zip(own.sources, split, strict=True))
    splits.check_synthetic(split, splits.synthetic(own.table), f"the split of {role.name}")
    for name in splits.NAMES:
        if set(own.labels[plain & (split == name)]) != {0, 1}:
            raise FractureError(
                f"{role.name}: split {name} lacks a class without hardware, with X-rays or patients on the side that "
                f"they have in other body parts: give more of them. Received: {int(own.labels[plain].sum()):,} images "
                f"with a lesion, {int((own.labels[plain] == 0).sum()):,} without"
            )
    return split
