"""The trained models that the page can use, each loaded when it is first asked."""

import dataclasses
import functools
import threading
from pathlib import Path

from keras_fracture.errors import ModelError
from keras_fracture.serving import versions, zoo
from keras_fracture.serving.metadata import facts_of, finding_of


@dataclasses.dataclass(frozen=True)
class Reader:
    """A classifier.

    Attributes:
        name: What it is called.
        classifier: `inference.predicting.Classifier`.
        network: The same as a Keras model, for Grad-CAM.
        finding: Which of its probabilities is the finding's.
        data: What it learnt from, in words.
    """

    name: str
    classifier: object
    network: object
    finding: int
    data: str


class Shelf:
    """Models by name. Nothing is loaded before it is used, and nothing twice.

    Args:
        folders: Folders of models, of one model, or names of `models list`; none means those that come with the
            package or lie in `saved_models/` here.

    Attributes:
        classifiers: Names of those that tell findings, the best first.
        generators: Names of those that draw X-rays; those that learnt from phantoms first.
        painters: Names of those that paint lesions.

    Raises:
        ModelError: A folder holds no model, or a damaged one.
    """

    def __init__(self, folders=()):
        found = versions.models_in(*folders) if folders else _here()
        self._folders = {folder.name: versions.version_of(folder) for folder in found}
        self._facts = {name: facts_of(version) for name, version in self._folders.items()}
        self._lock = threading.Lock()
        kinds = {name: _kind(facts) for name, facts in self._facts.items()}
        self.classifiers, self.generators, self.painters = (
            sorted((name for name in kinds if kinds[name] == kind), key=self._rank)
            for kind in ("classifier", "generator", "painter")
        )

    def _rank(self, name):
        facts = self._facts[name]
        auc = facts.get("metrics", {}).get("auc", {}).get("value", 0)
        return (self.data(name) != "phantom" if "latent_dim" in facts["config"] else -auc), name

    def data(self, name):
        """The data set a model learnt from, or "" where its metadata do not say."""
        return self._facts[name].get("trained_on", "").split(",")[0]

    def classes(self, name):
        """The names of a model's classes; none where it has none."""
        facts = self._facts[name]
        count = facts["config"].get("num_classes") or 0
        return facts.get("classes") or [str(number) for number in range(count)]

    def side(self, name):
        """The side of a model's images in pixels."""
        return self._facts[name]["config"]["image_size"]

    def reader(self, name):
        """A classifier by its name, as a `Reader`."""
        return self._once(_reader, self._known(name, self.classifiers), name, self.data(name))

    def generator(self, name):
        """A generator by its name, as an `inference.generating.Source`."""
        return self._once(_generator, self._known(name, self.generators))

    def painter(self, name):
        """Of a painter of lesions: a function of uint8 patches `(n, size, size, 1)` to such, and `size`."""
        return self._once(_painter, self._known(name, self.painters))

    def _known(self, name, names):
        if name not in names:
            raise ModelError(
                f"No such model is here. Choose one of {', '.join(names) or 'none'}. Received: {name!r}"
            )
        return self._folders[name]

    def _once(self, load, *arguments):
        with self._lock:  # two visitors must not load it twice
            return load(*arguments)


def _here():
    """The folders of all models that need not be fetched."""
    folder = Path(zoo.FOLDER)
    own = [path.name for path in folder.iterdir() if any(versions.versions(path))] if folder.is_dir() else []
    return [folder for name in sorted({*zoo.index(), *own}) if (folder := zoo.here(name))]


def _kind(facts):
    if "latent_dim" in facts["config"]:
        return "generator"
    if facts["architecture"] == "UNIT":
        return "painter"
    return "classifier" if "preprocess" in facts and facts.get("classes") else "other"


@functools.cache
def _reader(folder, name, data):
    from keras_fracture import models
    from keras_fracture.inference.predicting import Classifier

    return Reader(name, Classifier(folder), models.load(folder), finding_of(facts_of(folder), name), data)


@functools.cache
def _generator(folder):
    from keras_fracture.inference import generating

    return generating.load(folder)


@functools.cache
def _painter(folder):
    import numpy as np

    from keras_fracture import models
    from keras_fracture.models.preprocessing import scale, unscale

    network = models.load(folder)

    def translate(patches):
        given = scale(np.repeat(patches, network.channels, axis=-1), network.pixel_range)
        made = unscale(network(given, training=False), network.pixel_range)
        return np.rint(made.mean(-1, keepdims=True)).astype(np.uint8)

    return translate, network.image_size
