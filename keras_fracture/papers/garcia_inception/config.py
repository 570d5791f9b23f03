"""The numbers of `garcia_inception`."""

import dataclasses
from typing import ClassVar

from keras_fracture.errors import FractureError
from keras_fracture.papers.classifier_config import ClassifierConfig

# The nets, as arguments of `models.InceptionNet`: that of the text, and that of the author's published code.
NETWORKS = {
    "inception_net": {},
    "inception_net_published": {"stem_width": 64, "stages": ((64, False), (128, False)), "dropout": 0.0},
}

_PUBLISHED = {
    "models": ("inception_net_published",), "image_size": 112, "epochs": 10, "doubled": False, "as_published": True,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Config(ClassifierConfig):
    """One Inception net, training images doubled by flipping, thirty epochs.

        keras-fracture reproduce garcia_inception                    # quick: 64 x 64 pixels, 4 epochs
        keras-fracture reproduce garcia_inception --profile paper    # the paper's own schedule
        keras-fracture reproduce garcia_inception --variant published_code    # nearly the author's code
        keras-fracture reproduce garcia_inception --variant published_code_cosine    # and its learning rate falls
        keras-fracture reproduce garcia_inception --variant tuned --data fracatlas --set policies=grouped --epochs 8

    Source: García Aguirre, "Convolutional neural network for fracture detection in x-ray images". Reported:
    validation accuracy 85 %, test accuracy 81 %, the weakest on hands; ours: results/garcia_inception.json. Quick:
    ten minutes on two cores. Under the split policy `paper` the images are doubled *before* a tenth is drawn for
    validation, as the text says, so that validation holds mirror images and rotated copies of training images.

    The author's code, in the repository that the paper names (github.com/juang1910/Radiographies), is another recipe:
    two blocks instead of four behind a wider stem, 112 pixels, ten epochs, no dropout and no flips. Its notebook prints
    a test accuracy of 89.2 % on the same 600 images. It draws 1,000 images for validation, ours a tenth, and squashes
    the few images that are not square, where ours pads them.

    Attributes:
        doubled: Whether each image is trained on with its mirror image.
        as_published: Whether images are resized, first weights drawn and Adam's epsilon set as the author's code and
            PyTorch's defaults have it: bilinear, uniform, 1e-8; and the paper's images normalised by the author's
            mean and standard deviation. Otherwise Lanczos, He's normal, 1e-7, and those of the training images.
        cosine_decay: Whether the learning rate falls by half a cosine; constant in the paper and in the author's code.
    """

    key = "garcia_inception"
    title = "Convolutional neural network for fracture detection in x-ray images (García Aguirre)"
    REPORTED: ClassVar = {
        "inception_net": {"validation_accuracy": 0.85, "accuracy": 0.81},
        "inception_net_published": {},
    }
    PRINTED: ClassVar = {
        "inception_net_published": {
            "accuracy": {"the paper, another net": 0.81, "the author's notebook": 0.892}
        }
    }
    PROFILES: ClassVar = {
        "smoke": {"data": "phantom", "image_size": 32, "epochs": 1},
        "quick": {"image_size": 64, "epochs": 4},
        "paper": {},
    }
    VARIANTS: ClassVar = {
        "paper": {},
        "published_code": _PUBLISHED,
        # One change, so that the weights of the last step are no longer those of a swing.
        "published_code_cosine": _PUBLISHED | {"cosine_decay": True},
        # What the paper does not do: vary the images, learn body parts beside findings.
        "tuned": {"augment": True, "body_parts": True},
    }
    ADDED: ClassVar = ClassifierConfig.ADDED | {
        "doubled": True, "cosine_decay": False, "as_published": False,
    }  # fmt: skip

    data: str = "kaggle_fracture"
    models: tuple = ("inception_net",)
    epochs: int = 30
    learning_rate: float = 1e-3
    threshold: float | None = 0.5  # the paper takes the likelier class
    doubled: bool = True
    cosine_decay: bool = False
    as_published: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.doubled and self.box_weight:  # mirror images keep the table's boxes
            raise FractureError("box_weight goes with doubled=False alone: mirror images have no boxes")
        unknown = [name for name in self.models if name not in NETWORKS]
        if unknown:
            raise FractureError(
                f"models of garcia_inception are {', '.join(NETWORKS)}. Received: {', '.join(unknown)}"
            )
