"""A GAN loss of your own beside one that comes with the package: same networks, images, noise and number of steps.

python examples/own_gan_loss.py --steps 500
"""

import argparse

import keras
from keras import ops

import keras_fracture as kf


class PearsonLeastSquares(kf.training.losses.AdversarialLoss):
    """Targets 1 for real images, -1 for generated ones, 0 for the generator (Mao et al. 2017, Equation 8)."""

    def discriminator(self, real, fake):
        real, fake = ops.cast(real, "float32"), ops.cast(fake, "float32")
        return 0.5 * (ops.mean((real - 1) ** 2) + ops.mean((fake + 1) ** 2))

    def generator(self, fake):
        return 0.5 * ops.mean(ops.cast(fake, "float32") ** 2)


def train(images, loss, steps, width):
    """Trains a DCGAN; `loss` is an `AdversarialLoss`, or the name of one that `losses.get` knows."""
    keras.utils.set_random_seed(0)
    gan = kf.training.AdversarialModel(
        kf.models.create("dcgan_generator", width=width, channels=1),
        kf.models.create("dcgan_discriminator", width=width, channels=1),
    )
    gan.compile(
        g_optimizer=keras.optimizers.Adam(2e-4, beta_1=0.5),
        d_optimizer=keras.optimizers.Adam(2e-4, beta_1=0.5),
        loss=loss,
    )
    dataset, _ = kf.training.make_train_dataset(images, pixel_range=gan.generator.pixel_range)
    gan.fit(dataset, steps_per_epoch=steps, verbose=2)
    return gan


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--data", default="phantom", help="a data set, or the path of your own X-rays")
parser.add_argument("--steps", type=int, default=500)
parser.add_argument("--width", type=int, default=16, help="of both networks (the paper's DCGAN: 64)")
options = parser.parse_args()

preprocess = kf.data.Preprocess(size=64)
real, held_out = (kf.data.load(options.data, split).arrays(preprocess)[0] for split in ("train", "test"))
for loss in ("non_saturating", PearsonLeastSquares()):
    generated = train(real, loss, options.steps, options.width).sample(len(held_out))
    features = [kf.evaluation.extract(images, "xray") for images in (held_out, generated)]
    kid, _ = kf.evaluation.kid(*features)
    print(
        f"{loss if isinstance(loss, str) else type(loss).__name__}: KID {kid:.4f} on {len(held_out)} test images"
    )
