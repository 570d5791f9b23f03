"""What `python benchmarks/gan_tries.py` would train, without training it."""

import numpy as np

from benchmarks import gan_tries
from keras_fracture import training
from keras_fracture.experiment.config import configure
from keras_fracture.papers.ibrahim_gan import learning_curve
from keras_fracture.papers.ibrahim_gan.config import Config
from keras_fracture.papers.ibrahim_gan.gans import TrainedGAN
from tests.papers.test_ibrahim_gan import split

FULL, TENTH = learning_curve.LEARNING_RATE, gan_tries.TENTH


def test_a_tenth_of_the_rate_falls_to_its_end_and_has_a_control_without_synthetic_images(monkeypatch):
    """The real images once came in half of the steps of a schedule made for all, with no control beside them."""
    small = {"seeds": 1, "classifier_steps": 32, "sizes": (8,), "few_labels": (8,)}
    config = configure(Config, "smoke", variant="modern", **small)
    sets = {name: split([str(k) for k in range(24)], (0, 1) * 12) for name in ("train", "validation")}
    gan = TrainedGAN((np.ones((60, 1, 1, 1), np.uint8),) * 2, None, None)
    phases, trained, answers = [], {}, gan_tries._answers

    def fit(network, images, *_, steps, **__):
        schedule = network.optimizer.get_config()["learning_rate"]["config"]
        phases.append((schedule["initial_learning_rate"], schedule["decay_steps"], steps, bool(images.max())))

    def answer(config, sets, number, network, arm, real, gan, start):
        phases.clear()
        made = answers(config, sets, number, network, arm, real, gan, start)
        trained[arm.name, start is not None] = list(phases)
        return made

    for module in (gan_tries, learning_curve):
        monkeypatch.setattr(module, "probabilities", lambda network, images: np.full(len(images), 0.7))
    monkeypatch.setattr(training, "fit_briefly", fit)
    monkeypatch.setattr(gan_tries, "_answers", answer)
    monkeypatch.setattr(gan_tries, "_conditional", lambda *_, **__: (gan, gan, "at the end"))
    weights = learning_curve.create_network(config).get_weights()
    monkeypatch.setattr(gan_tries, "_discriminator", lambda *_: weights)
    rows, _ = gan_tries.measure(config, sets)
    tries = [row["try"] for row in rows]
    for first in ("synthetic", "classic"):
        assert f"classic, after {first} alone, a tenth of the rate" in tries
    assert trained["warm", True] == [(FULL, 16, 16, True), (TENTH, 16, 16, False)]
    assert trained["control", True] == [(FULL, 16, 16, False), (TENTH, 16, 16, False)]
    assert trained["warm", False] == [(FULL, 32, 16, True), (FULL, 32, 16, False)]
