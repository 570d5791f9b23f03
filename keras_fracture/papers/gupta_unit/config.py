"""The numbers of `gupta_unit`."""

import dataclasses
from typing import ClassVar

from keras_fracture.errors import FractureError, meant
from keras_fracture.experiment import config

_LEAST = {"nips2017": 8, "munit": 64}  # preset to the smallest patches that its networks take


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """UNIT turns healthy patches into patches with a lesion; blended back, they join the training images.

        keras-fracture reproduce gupta_unit --data phantom      # embedded data
        keras-fracture reproduce gupta_unit                     # quick, BTXRD: upper limb, tibia, femur
        keras-fracture reproduce gupta_unit --data fracatlas    # leg, hip, shoulder; fractures

    Source: Gupta, Chopra and Ledig, "Generative Bone Lesions Synthesis for Data Augmentation in X-ray". Its data
    are private; `parts.ROLES` says who stands for humerus, tibia and femur. Reported in Table 2, AUC of
    the femur: 0.533 without, 0.682 with images from the humerus' translator; ours: results/gupta_unit.json.
    Not stated: sizes, steps, and the classifiers' optimizer (here Adam) and weight decay.
    Quick: three quarters of an hour on two cores.

    Every arm takes as many steps, and all but `unvaried` vary the images as the paper's do. Beside the paper's
    `baseline`, `augmented` (the part's own translator) and `transfer` (that of the first part) stand `oversampled`
    and `weighted` (lesions as often, or as heavy, as healthy images), `pool` (all lesions without hardware that
    the translator saw, which may be more than the classifier's) and `copy_paste` (patches of all that it saw,
    blended in the same way).

    Attributes:
        shares: Of training, validation and test, by source.
        min_lesions: Training images with a lesion that every part keeps, see `parts.parts_of`.
        seeds: Classifiers an arm.
        network: Of the classifiers.
        widths: Of the levels of a DRN-C or DRN-D, or None for the network's own.
        image_size: Side of the whole images in pixels.
        epochs: Of each classifier.
        batch_size: Images a step of a classifier.
        learning_rate: Of a classifier's Adam.
        weight_decay: L2 weight decay of its kernels.
        preset: Of the translator, "nips2017" or "munit".
        patch_size: Side of its patches in pixels.
        width: Of its first maps; 64 is the paper's.
        unit_epochs: Between which it is saved.
        unit_steps: Steps an epoch.
        unit_batch: Patches of each kind a step.
        unit_learning_rate: Of its Adam.
        unit_d_learning_rate: Of its discriminators' Adam; None is `unit_learning_rate`, as in the paper.
        unit_noise: Standard deviation of the noise on its latents; 1 is the paper's.
        unit_eval_every: Epochs between two measurements of the kernel distance (KID, features `xray`) of translated to
            real lesion patches of the validation images. The translator of the lowest paints; None is that of the last
            epoch.
        unit_ema: Decay of the weight average that paints; None paints with the last weights, as in the paper.
        patches: Of each kind it learns from.
        translators: So many parts have a translator of their own; the paper could train none on the femur.
        exponent: Of the blending; larger leaves more of the patch. None chooses, for each translator, the largest of
            `exponents` whose seam a classifier finds on training images with an AUC of at most `seam_limit`, or the
            smallest where it finds all.
        exponents: Others whose seams are looked at too.
        seam_limit: See `exponent`.
        thresholds: Of the filter, one of which is chosen on validation images. Those that no image passes
            are left out; 0 lets all pass.
        passing_shares: Further thresholds, as the shares of painted images that pass them. The paper's own, 0.9 and
            0.95, let 3 to 27 % pass; where lesions are so rare that the baseline is never sure, they let none.
    """

    key = "gupta_unit"
    title = "Generative Bone Lesions Synthesis for Data Augmentation in X-ray (Gupta, Chopra, Ledig)"
    # Table 2: AUC with its interval, threshold, images added.
    REPORTED: ClassVar = {
        "humerus": {"baseline": (0.876, 0.817, 0.926, None, 0), "augmented": (0.924, 0.889, 0.955, 0.9, 401)},
        "tibia": {
            "baseline": (0.618, 0.532, 0.705, None, 0),
            "augmented": (0.640, 0.547, 0.732, 0.9, 124),
            "transfer": (0.698, 0.610, 0.785, 0.9, 1264),
        },
        "femur": {"baseline": (0.533, 0.441, 0.627, None, 0), "transfer": (0.682, 0.594, 0.764, 0.95, 1342)},
    }
    PROFILES: ClassVar = {
        "smoke": {
            "data": "phantom", "seeds": 1, "network": "compact_cnn", "image_size": 32, "epochs": 1, "patch_size": 32,
            "width": 4, "unit_epochs": 2, "unit_steps": 1, "patches": 40, "thresholds": (0.0,),
            "passing_shares": (0.5,), "translators": 1, "exponents": (1.0,), "unit_ema": 0.99,
        },
        "quick": {
            "widths": (8, 8, 8, 16, 32, 64, 64, 64), "image_size": 96, "epochs": 12, "patch_size": 64,
            "width": 16, "unit_epochs": 6, "unit_steps": 100, "unit_batch": 4, "unit_learning_rate": 2e-3,
            "patches": 1500, "unit_ema": 0.99,
        },
        "paper": {},
    }  # fmt: skip
    # Settings that came later, with what was done before.
    ADDED: ClassVar = config.Config.ADDED | {
        "unit_d_learning_rate": None, "unit_noise": 1.0, "unit_eval_every": None, "seam_limit": 0.6,
    }  # fmt: skip
    TOLD: ClassVar = (*config.Config.TOLD, "unit_epochs", "unit_steps")
    MAY_BE_ZERO: ClassVar = (*config.Config.MAY_BE_ZERO, "weight_decay", "thresholds", "unit_noise")
    SHARES: ClassVar = ("passing_shares", "shares", "seam_limit", "thresholds", "unit_ema")

    data: str = "btxrd"
    shares: tuple = (0.45, 0.15, 0.4)
    min_lesions: int = 8
    seeds: int = 2
    network: str = "drn_d_22"
    widths: tuple | None = None
    image_size: int = 224
    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    preset: str = "nips2017"
    patch_size: int = 128
    width: int = 64
    unit_epochs: int = 100
    unit_steps: int = 1000
    unit_batch: int = 1
    unit_learning_rate: float = 1e-4
    unit_d_learning_rate: float | None = None
    unit_noise: float = 1.0
    unit_eval_every: int | None = None
    unit_ema: float | None = None
    patches: int = 5000
    translators: int = 2
    exponent: float | None = 2.0
    exponents: tuple = (0.5, 1.0, 2.0, 4.0)
    seam_limit: float = 0.6
    thresholds: tuple = (0.0, 0.9, 0.95)
    passing_shares: tuple = (0.3, 0.1, 0.03)

    def __post_init__(self):
        super().__post_init__()
        least = _LEAST.get(self.preset)
        if least is None:
            raise FractureError(
                f"preset of {self.key} must be one of {', '.join(_LEAST)}. {meant(self.preset, _LEAST)}"
                f"Received: {self.preset!r}"
            )
        if self.patch_size % 4 or self.patch_size < least:
            raise FractureError(
                f"patch_size of {self.key} must be a multiple of 4, and {least} or more for {self.preset}. "
                f"Received: {self.patch_size}"
            )
        # A profile's, whatever network was asked for.
        if not self._has_widths and self.widths in [one.get("widths") for one in self.PROFILES.values()]:
            object.__setattr__(self, "widths", None)

    @property
    def _has_widths(self):
        return self.network.startswith(("drn_c_", "drn_d_"))  # DRN-A is a ResNet

    def unused(self):
        """See `experiment.config.Config.unused`."""
        widths = {} if self._has_widths or self.widths is None else {"widths": "DRN-C and DRN-D"}
        seams = {} if self.exponent is None else {"seam_limit": "a search for the exponent"}
        return super().unused() | widths | seams
