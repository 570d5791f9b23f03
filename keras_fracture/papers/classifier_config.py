"""The numbers that every classifier paper has."""

import dataclasses
from pathlib import Path
from typing import ClassVar

from keras_fracture.errors import FractureError, WeightsError
from keras_fracture.experiment import config


@dataclasses.dataclass(frozen=True)
class ClassifierConfig(config.Config):
    """Numbers of a paper that trains classifiers with two logits.

    Attributes:
        policies: Split policies, each carried out in full.
        models: Names of architectures, each trained `seeds` times.
        variant: "paper" for the paper's own numbers; others are named in `VARIANTS`.
        epochs: Of each training.
        batch_size: Images a step.
        image_size: Side of the images in pixels.
        jpeg: How JPEG files are decoded, "full" or "reduced", see `data.Preprocess`.
        learning_rate: Highest learning rate.
        augment: Whether training images are changed a little (flip, rotation, zoom, shift, contrast).
        balanced: Whether both classes weigh alike in the loss.
        body_parts: Whether body parts are learnt beside findings, see `training.WithBodyPart`.
        box_weight: Factor of what is lost by telling badly where annotated boxes lie, see `training.WithBoxes`; 0 does
            not learn it.
        weight_decay: L2 weight decay of the kernels.
        patience: Early stopping, see `training.fit`; off in the papers.
        threshold: Probability from which on an image counts as a finding; None chooses that of each seed on
            validation.
        flips: Whether a prediction averages over the image and its mirror image.
        ensemble: Whether all seeds, with `flips` of mirror images, too, are tested and exported as one model, see
            `models.Ensemble`. Otherwise each seed is tested, and the first one's model exported, which sees each image
            once.
        teacher: A trained model that networks learn from beside the labels, see `training.WithTeacher`: a name or the
            path of a SavedModel; of an ensemble each seed has another member. It must have learnt from the same split.
        teacher_weight: Factor of what is lost by explaining the teacher's maps badly.
        pretrained: What to start from: a trained model of the same architecture, by name or by the path of a
            SavedModel, which must not know this run's test images; a `.weights.h5` file or one of PyTorch's, see
            `interop.torch`; or "imagenet", see `interop.imagenet`. The head may be of another number of classes.
    """

    VARIANTS: ClassVar = {"paper": {}}
    MAY_BE_ZERO: ClassVar = (*config.Config.MAY_BE_ZERO, "box_weight", "weight_decay", "threshold")
    SHARES: ClassVar = ("threshold",)
    ADDED: ClassVar = config.Config.ADDED | {
        "ensemble": False, "teacher": None, "teacher_weight": 2.0, "box_weight": 0.0, "jpeg": "full",
    }  # fmt: skip
    # Beside the paper's own REPORTED what others print for the same test images: of a model and a metric, by whom.
    PRINTED: ClassVar = {}
    # A sentence on what must be known to hold the paper's numbers against ours.
    COMPARED: ClassVar = ""

    policies: tuple = ("grouped", "paper")
    models: tuple = ()
    variant: str = "paper"
    seeds: int = 1
    epochs: int = 10
    batch_size: int = 32
    image_size: int = 224
    jpeg: str = "full"
    learning_rate: float = 1e-3
    augment: bool = False
    balanced: bool = False
    body_parts: bool = False
    box_weight: float = 0.0
    weight_decay: float = 0.0
    patience: int | None = None
    threshold: float | None = None
    flips: bool = False
    ensemble: bool = False
    pretrained: str | None = None
    teacher: str | None = None
    teacher_weight: float = 2.0

    def __post_init__(self):
        super().__post_init__()
        if self.jpeg not in ("full", "reduced"):  # before data are prepared
            raise FractureError(f"jpeg of {self.key} must be full or reduced. Received: {self.jpeg!r}")
        if self.ensemble and self.seeds == 1 and not self.flips:
            raise FractureError(
                f"ensemble of {self.key} averages over several seeds, or with flips over mirror images. "
                "Received: one seed, without flips"
            )
        added = [name for name in ("body_parts", "box_weight", "teacher") if getattr(self, name)]
        if self.balanced and set(added) & {"body_parts", "box_weight"}:
            raise FractureError(f"balanced weighs the classes of one target: it does not go with {added[0]}")
        if len(added) > 1:
            raise FractureError(f"{' and '.join(added)} add to the loss: leave one out")

    def unused(self):
        """See `experiment.config.Config.unused`."""
        return super().unused() | ({} if self.teacher else {"teacher_weight": "what learns from a teacher"})

    @property
    def l2(self):
        """What `training.add_l2` puts into the loss."""
        return self.weight_decay

    @property
    def starts_from_model(self):
        """Whether `pretrained` names a trained model: neither "imagenet" nor a file of weights."""
        given = self.pretrained
        if given in (None, "imagenet") or Path(given).is_file():
            return False
        from keras_fracture.interop.convert import READ  # settings alone are read without it

        return not given.endswith(READ)

    def weight_files(self):
        """The files of `pretrained`, unless that is "imagenet", whose file has its known hash, and of `teacher`.

        Raises:
            WeightsError: There is no such file.
            ModelError: There is no such model.
        """
        from keras_fracture.serving.versions import version_of

        models = {"pretrained": self.pretrained if self.starts_from_model else None, "teacher": self.teacher}
        found = {
            name: sorted((version_of(model) / "variables").glob("*"))
            for name, model in models.items()
            if model
        }
        if self.pretrained not in (None, "imagenet") and not self.starts_from_model:
            if not Path(self.pretrained).is_file():
                raise WeightsError(f"pretrained must name a file of weights. Received: {self.pretrained}")
            found["pretrained"] = [Path(self.pretrained)]
        return found
