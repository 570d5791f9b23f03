"""From somebody's weights to answers on the command line, held against the network they came from."""

import argparse
import json

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from keras_fracture import cli, models, serving, training
from keras_fracture.errors import FractureError, ModelError
from keras_fracture.interop.convert import classes_in
from keras_fracture.models.preprocessing import IMAGENET
from keras_fracture.papers import classifier
from keras_fracture.papers.lisbon_resnet import experiment as lisbon_resnet
from keras_fracture.papers.lisbon_resnet.config import Config as LisbonResNet
from tests.interop.conftest import tiny, tiny_twin

torch = pytest.importorskip("torch")
from tests.torch_twins import resnet  # noqa: E402

SHAPE = ["--set", "depths=1,1,1,1", "--set", "width=4", "--set", "image_size=32", "--set", "num_classes=2"]
NORMALISED = [*SHAPE, "--set", "mean=0.485,0.456,0.406", "--set", "std=0.229,0.224,0.225"]


def run(*words):
    return cli.main([str(word) for word in words])


@pytest.fixture
def images(tmp_path):
    """A folder of square grey PNG files."""
    folder, rng = tmp_path / "images", np.random.default_rng(0)
    folder.mkdir()
    for number in range(3):
        blocks = Image.fromarray(rng.integers(0, 256, (9, 9), np.uint8)).resize((70, 70), Image.NEAREST)
        blocks.point(lambda level, number=number: level / (1 + number)).save(folder / f"{number}.png")
    return folder


def lively():
    """A twin whose statistics and gains are not those it started with."""
    twin = tiny_twin()
    with torch.no_grad():
        for module in twin.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
        twin.train()(torch.rand(8, 3, 32, 32))
        twin.fc.weight.mul_(20)
    return twin.eval()


def told(twin, folder):
    """Logits of the twin, as torchvision's `Resize`, `ToTensor` and `Normalize` prepare images."""
    batch = []
    for path in sorted(folder.iterdir()):
        resized = Image.open(path).convert("RGB").resize((32, 32), Image.BILINEAR)
        batch.append((np.asarray(resized, "float32") / 255 - IMAGENET[0]) / IMAGENET[1])
    with torch.no_grad():
        return twin(torch.tensor(np.stack(batch).transpose(0, 3, 1, 2), dtype=torch.float32))


def predicted(model, folder, out):
    assert run("predict", *sorted(folder.iterdir()), "--model", model, "--csv", out) == 0
    return pd.read_csv(out)


@pytest.mark.parametrize("straight", [False, True])
def test_the_twins_probabilities_come_out_of_predict(straight, images, tmp_path, capsys):
    twin = lively()
    source = tmp_path / "best.pth.tar"
    torch.save({"state_dict": twin.state_dict(), "args": argparse.Namespace(lr=0.1)}, source)
    if not straight:
        weights = tmp_path / "own.weights.h5"
        assert run("convert", source, "--model", "resnet18", *SHAPE, "--to", weights) == 0
        source = weights
    options = [
        "--preprocess",
        "resize=bilinear",
        "--classes",
        "fractured",
        "intact",
        "--finding",
        "fractured",
    ]
    assert (
        run("export", source, "--model", "resnet18", *NORMALISED, *options, "--to", tmp_path / "model") == 0
    )
    table = predicted(tmp_path / "model", images, tmp_path / "out.csv")
    expected = torch.softmax(told(twin, images), 1).numpy()
    assert np.ptp(expected[:, 0]) > 0.01  # they are not all alike
    np.testing.assert_allclose(table["probability"], expected[:, 0], atol=1e-4)
    facts = json.loads((tmp_path / "model" / "1" / "metadata.json").read_text())
    assert (facts["classes"], facts["finding"]) == (["fractured", "intact"], "fractured")
    assert facts["preprocess"]["resize"] == "bilinear"
    # As a Keras model again, mean and std are there too.
    assert models.load(tmp_path / "model").mean == IMAGENET[0]
    capsys.readouterr()


def test_check_prints_the_twins_logits(images, tmp_path, capsys):
    twin = lively()
    torch.save(twin.state_dict(), tmp_path / "mine.pth")
    check = ["--check", images, "--preprocess", "resize=bilinear", "--to", tmp_path / "out.safetensors"]
    assert run("convert", tmp_path / "mine.pth", "--model", "resnet18", *NORMALISED, *check) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if ".png" in line]
    assert [row[0] for row in rows] == [str(path) for path in sorted(images.iterdir())]
    logits = np.array([row[1:] for row in rows], float)
    np.testing.assert_allclose(logits, told(twin, images), atol=1e-4)


def refused(capsys, words, *arguments):
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Traceback" not in error and words in error, error


def test_what_does_not_fit_is_one_line_and_leaves_nothing(images, tmp_path, capsys):
    torch.save(tiny_twin().state_dict(), tmp_path / "mine.pth")
    before = sorted(tmp_path.rglob("*"))
    export = ["export", tmp_path / "mine.pth", "--model", "resnet18", *SHAPE, "--to", tmp_path / "out"]
    convert = ["convert", tmp_path / "mine.pth", "--model", "resnet18", *SHAPE, "--to", tmp_path / "o.pt"]
    refused(capsys, "A setting of resnet18 is NAME=VALUE", *export, "--set", "stages=3,4,6,3")
    refused(capsys, "width of resnet18 is a int. Received: 'wide'", *export, "--set", "width=wide")
    refused(capsys, "width of resnet18 is a int. Received: '4.5'", *convert, "--set", "width=4.5")
    refused(capsys, "depths of resnet18 is a int. Received: '1,a'", *convert, "--set", "depths=1,a")
    refused(capsys, "mean must be a finite number, or 3", *convert, "--set", "mean=0.1,0.2")
    refused(capsys, "std must be above 0", *convert, "--set", "std=0")
    refused(capsys, "classes must be 2 different names", *export, "--classes", "one")
    refused(capsys, "classes must be 2 different names", *export, "--classes", "one", "one")
    refused(capsys, "finding must be one of the classes", *export, "--finding", "fractured")
    refused(capsys, "resize must be one of lanczos, bilinear", *export, "--preprocess", "resize=nearest")
    refused(capsys, "clahe must be a clip limit", *export, "--preprocess", "clahe=2")
    refused(capsys, "preprocess must make what the model takes", *export, "--preprocess", "size=64")
    refused(capsys, "without its top", *export, "--set", "include_top=False")
    refused(capsys, "A weights file says nothing of images", *convert, "--preprocess", "crop=True")
    refused(capsys, "cannot be read: No such file", *convert, "--check", tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no image")
    refused(capsys, "is not an image that can be read", *convert, "--check", tmp_path / "text.png")
    (tmp_path / "text.png").unlink()
    generator = ["--model", "dcgan_generator", "--to", tmp_path / "out", "--classes", "a", "b"]
    refused(capsys, "Only a classifier has", "export", *generator)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_generator_of_another_shape_draws_from_its_weights(tmp_path, capsys):
    shape = {"image_size": 32, "width": 2, "channels": 1, "num_classes": 2, "latent_dim": 5}
    network = models.create("dcgan_generator", **shape)
    network.save_weights(tmp_path / "own.weights.h5")
    settings = [word for name, value in shape.items() for word in ("--set", f"{name}={value}")]
    generate = ["generate", tmp_path / "own.weights.h5", "--model", "dcgan_generator", *settings]
    assert run(*generate, "--count", 3, "--out", tmp_path / "made") == 0
    first = np.asarray(Image.open(sorted((tmp_path / "made").glob("*.png"))[0]))
    expected = training.sample(network, 3, seed=0)[0, ..., 0]
    assert np.abs(first.astype(int) - expected).max() <= 1


def test_a_keras_file_of_ours_keeps_what_it_is(images, tmp_path, capsys):
    model = tiny(mean=0.2, std=0.3)
    model.save(tmp_path / "mine.keras")
    options = ["--preprocess", "crop=True", "--classes", "healthy", "finding"]
    assert run("export", tmp_path / "mine.keras", *options, "--to", tmp_path / "model") == 0
    table = predicted(tmp_path / "model", images, tmp_path / "out.csv")
    batch = np.stack([
        np.asarray(Image.open(path).resize((32, 32), Image.LANCZOS), "float32") / 255
        for path in sorted(images.iterdir())
    ])[..., None].repeat(3, axis=3)  # fmt: skip
    expected = keras.ops.softmax(model(batch))
    np.testing.assert_allclose(table["probability"], expected[:, 1], atol=1e-5)
    capsys.readouterr()
    refused(capsys, "holds its architecture", "export", tmp_path / "mine.keras", "--model", "resnet18",
            "--to", tmp_path / "other")  # fmt: skip


@keras.saving.register_keras_serializable("theirs")
class TheirLayer(keras.layers.Layer):
    def call(self, inputs):
        return inputs


@pytest.mark.parametrize("kind", ["functional", "sequential", "custom"])
def test_a_foreign_keras_file_is_one_line(kind, tmp_path, capsys, monkeypatch):
    inputs = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(2, 3)(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(maps), name="resnet50")
    if kind == "sequential":
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    if kind == "custom":
        model = keras.Sequential([keras.Input((8, 8, 3)), TheirLayer()])
    model.save(tmp_path / "theirs.keras")
    if kind == "custom":
        monkeypatch.delitem(keras.saving.get_custom_objects(), "theirs>TheirLayer")
    path, words = tmp_path / "theirs.keras", "theirs.keras is no model of this package"
    refused(capsys, words, "export", path, "--to", tmp_path / "out")
    refused(capsys, words, "generate", path, "--out", tmp_path / "out")
    refused(capsys, "theirs.keras", "predict", tmp_path / "theirs.keras", "--model", path)
    assert not (tmp_path / "out").exists()


def test_a_saved_gan_is_exported_as_what_draws(tmp_path, capsys):
    shape = {"image_size": 16, "channels": 1, "width": 1 / 16}
    gan = training.AdversarialModel(
        models.create("dense_gan_generator", latent_dim=8, **shape),
        models.create("dense_gan_discriminator", **shape),
        ema=0.5,
    )
    gan.generator.weights[0].assign(gan.generator.weights[0] * 3)  # so that its average is another
    gan.save(tmp_path / "gan.keras")
    assert run("export", tmp_path / "gan.keras", "--to", tmp_path / "out") == 0
    noise = np.random.default_rng(0).normal(size=(2, 8)).astype("float32")
    np.testing.assert_array_equal(models.load(tmp_path / "out")(noise), gan.ema_generator(noise))


@pytest.mark.parametrize(("classes", "mean"), [(1000, IMAGENET[0]), (7, 0.0)])
@pytest.mark.parametrize("ending", ["pth", "weights.h5"])
def test_pretrained_takes_pytorch_files_and_imagenets_normalisation(classes, mean, ending, tmp_path):
    torch.manual_seed(0)
    twin, path = (
        resnet.ResNet((2, 2, 2, 2), False, num_classes=classes, width=4),
        tmp_path / f"start.{ending}",
    )
    torch.save(twin.state_dict(), tmp_path / "start.pth")
    if ending != "pth":
        shape = ["--set", "width=4", "--set", f"num_classes={classes}", "--set", "image_size=32"]
        assert run("convert", tmp_path / "start.pth", "--model", "resnet18", *shape, "--to", path) == 0
    assert classes_in(path) == classes
    config = LisbonResNet(models=("resnet18",), width=4, image_size=32, pretrained=str(path))
    model = classifier.start_model(config, lisbon_resnet.METHOD, "resnet18", None)
    assert model.mean == mean and model.num_classes == 2
    images = np.random.default_rng(0).random((2, 32, 32, 3), dtype="float32")
    prepared = (images - IMAGENET[0]) / IMAGENET[1] if classes == 1000 else images
    twin.fc = torch.nn.Identity()
    with torch.no_grad():
        theirs = twin.eval()(torch.tensor(prepared.transpose(0, 3, 1, 2), dtype=torch.float32))
    np.testing.assert_allclose(np.mean(model.features(images), axis=(1, 2)), theirs, atol=1e-4)


def test_release_refuses_what_a_run_says_itself(tmp_path):
    with pytest.raises(ModelError, match=r"A run says itself.*Received"):
        serving.releasing.release(tmp_path, tmp_path / "out", classes=["a", "b"])


def test_constructor_arguments_are_typed():
    parsed = serving.releasing.arguments_of
    assert parsed("unit", ["preset=munit", "width=8"]) == {"preset": "munit", "width": 8}
    assert parsed("inception_net", ["stages=((4, True), (8, False))", "mean=1"]) == {
        "stages": ((4, True), (8, False)),
        "mean": 1.0,
    }
    assert parsed("resnet50", ["image_size=None", "std=0.2,0.2,0.2"]) == {
        "image_size": None,
        "std": (0.2, 0.2, 0.2),
    }
    assert parsed("dcgan_generator", ["num_classes=None"]) == {"num_classes": None}
    for text in ("num_classes=two", "num_classes=2.0", "width=None", "latent_dim=True"):
        with pytest.raises(FractureError, match="of dcgan_generator is a int"):
            parsed("dcgan_generator", [text])
    assert models.arguments("resnet50")["depths"][1] == (3, 4, 6, 3)
