"""Trained models: draw images, carry weights."""

from keras_fracture import progress
from keras_fracture.cli import verbs
from keras_fracture.errors import ModelError

_WEIGHTS = ".pth, .pt, .pth.tar, .ckpt, .bin, .safetensors or .weights.h5 file"


def add_models(commands):
    """Adds `models` and what follows it."""
    models = commands.add_parser("models", help="list trained models that are known by name")
    kinds = verbs.commands(models)
    verbs.add(
        kinds,
        "list",
        list_models,
        "what each trained model does, learnt from and reaches, and whether it is here or will be fetched",
        "keras-fracture models list",
    )


def add_generate(commands):
    """Adds `generate`."""
    verb = verbs.add(
        commands, "generate", generate, "write synthetic images from a trained generator",
        "keras-fracture generate --model dcgan_phantom --count 500 --seed 1 --out synthetic --jobs 4",
    )  # fmt: skip
    verb.add_argument(
        "generator",
        nargs="?",
        help=f"run folder, SavedModel folder, name of `models list`, .keras file, or {_WEIGHTS}",
    )
    verb.add_argument("--out", required=True, metavar="DIR", help="folder to write PNGs and images.csv to")
    verb.add_argument("--count", type=int, default=100, help="images (default 100)")
    verb.add_argument("--seed", type=int, default=0, help="of the noise (default 0)")
    verb.add_argument("--class", dest="label", metavar="NAME", help="one class (default: all in turn)")
    verb.add_argument(
        "--model",
        help="without GENERATOR: the same, such as dcgan_phantom; with a weights file: its architecture, "
        "such as dcgan_generator",
    )
    _settings(verb)
    verbs.parallel(verb)
    verb.add_argument(
        "--resume",
        action="store_true",
        help="go on with the images that the same command left in DIR.unfinished",
    )


def add_export(commands):
    """Adds `export`."""
    verb = verbs.add(
        commands, "export", export, "write a trained model with a model card: SavedModel, TFLite or ONNX",
        "keras-fracture export runs/lisbon_resnet/TIME --which grouped/resnet18 --to saved_models/resnet18_fracatlas\n"
        "         keras-fracture export mine.pth --model resnet18 --set num_classes=2 --preprocess resize=bilinear "
        "--classes healthy finding --to saved_models/mine",
    )  # fmt: skip
    verb.add_argument(
        "source",
        nargs="?",
        help=f"run folder, SavedModel folder (exported anew), name of `models list`, .keras file, or {_WEIGHTS} "
        "(default: random weights of --model)",
    )
    verb.add_argument(
        "--to", required=True, metavar="DIR", help="the model's folder; its name is the model's"
    )
    verb.add_argument("--version", type=int, default=1, help="positive number (default 1)")
    verb.add_argument(
        "--format", default="saved_model", choices=("saved_model", "tflite", "onnx"),
        help="default saved_model; tflite and onnx (the extra `runtimes`) hold the endpoint serving_default alone",
    )  # fmt: skip
    verb.add_argument("--model", help="architecture of a weights file, such as resnet18")
    _settings(verb)
    _preprocess(verb, "; without any, predict and evaluate refuse the model")
    verb.add_argument(
        "--classes", nargs="+", metavar="NAME", help="of a classifier, in the order of its outputs"
    )
    verb.add_argument(
        "--finding", metavar="NAME", help="the class that is the finding, where names do not tell"
    )
    verb.add_argument(
        "--which", metavar="NAME", help="of a run with several models: SPLIT/MODEL/VARIANT, or its beginning"
    )


def add_convert(commands):
    """Adds `convert`."""
    verb = verbs.add(
        commands, "convert", convert, "carry weights between PyTorch and Keras",
        "keras-fracture convert weights.pth --model resnet18 --to resnet18.weights.h5",
    )  # fmt: skip
    verb.add_argument("weights", help=_WEIGHTS)
    verb.add_argument("--model", required=True, help="architecture, such as resnet18")
    verb.add_argument("--to", required=True, metavar="FILE", help="file to write; its ending says which kind")
    verb.add_argument("--num-classes", type=int, help="short for --set num_classes=N")
    _settings(verb)
    verb.add_argument(
        "--names", help="name map: torchvision_resnet, drn, dcgan or munit (default: by name or order)"
    )
    verb.add_argument(
        "--check", nargs="+", metavar="IMAGE", help="also print the logits of these images or folders of images, to be "
        "held against the framework the weights come from: names and shapes do not tell all"
    )  # fmt: skip
    _preprocess(verb, ", for --check")


def _settings(verb):
    verb.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE",
        help="constructor argument of --model, such as depths=3,4,6,3, num_classes=2 or mean=0.485,0.456,0.406; may "
        "be repeated",
    )  # fmt: skip


def _preprocess(verb, why):
    verb.add_argument(
        "--preprocess", action="append", default=[], metavar="NAME=VALUE",
        help=f"how a classifier's images are prepared{why}: resize=bilinear or lanczos, crop=True, clahe=2.0,8; may "
        "be repeated",
    )  # fmt: skip


def list_models(options):
    """`models list`."""
    import pandas as pd

    from keras_fracture.report.markdown import over_seeds
    from keras_fracture.serving import zoo

    rows = []
    for name, entry in sorted(zoo.index().items()):
        measured = ", ".join(f"{metric} {over_seeds(score)}" for metric, score in entry["metrics"].items())
        size = f"{entry['bytes'] / 1e6:.1f} MB"
        where = "here" if zoo.here(name) else "fetched on first use"
        rows.append([name, entry["task"], entry["data"], size, where, measured, entry["licence"]])
    columns = ["name", "task", "learnt from", "size", "where", "measured", "licence of the images"]
    print(pd.DataFrame(rows, columns=columns).to_string(index=False))


def generate(options):
    """`generate`."""
    generator, architecture = options.generator, options.model
    if generator is None:  # as `predict --model` names one
        if architecture is None:
            raise ModelError("Name a generator, such as dcgan_phantom or a run folder. Received: none")
        generator, architecture = architecture, None
    verbs.import_tensorflow()
    from keras_fracture import inference

    given = options.count, options.seed, options.label, architecture, options.settings
    with verbs.workers(options) as workers:
        table = inference.generate(generator, options.out, *given, workers, options.resume)
    progress.say(f"wrote {len(table):,} images and images.csv to {options.out}")


def export(options):
    """`export`."""
    verbs.import_tensorflow()
    given = options.model, options.which, options.settings
    given += options.preprocess, options.classes, options.finding
    if options.format == "saved_model":
        from keras_fracture.serving.releasing import release

        where = release(options.source, options.to, options.version, *given)
        progress.say(f"wrote {where}: SavedModel, metadata.json, model_card.md")
        return
    from keras_fracture.serving import converting

    where, difference = converting.release(
        options.format, options.source, options.to, options.version, *given
    )
    progress.say(f"wrote {where}: model.{options.format}, metadata.json, model_card.md")
    print(f"largest difference from the SavedModel: {difference:.2g}")


def convert(options):
    """`convert`."""
    verbs.import_tensorflow()
    from keras_fracture.interop import convert as carry
    from keras_fracture.serving.releasing import arguments_of, preprocess_of

    settings = [] if options.num_classes is None else [f"num_classes={options.num_classes}"]
    arguments = arguments_of(options.model, settings + options.settings)
    preprocess = preprocess_of(options.preprocess)
    if preprocess and not options.check:
        from keras_fracture.errors import WeightsError

        raise WeightsError(
            "A weights file says nothing of images: give --preprocess to `export`, or with --check. "
            f"Received: {', '.join(options.preprocess)}"
        )
    carry.check_endings(options.weights, options.to)
    network = carry.load(options.weights, options.model, options.names, **arguments)
    checked = carry.logits(network, options.check, **preprocess) if options.check else []
    carry.write(network, options.to, options.names)
    for path, logits in checked:
        print(path, *(f"{logit:.6f}" for logit in logits))
    progress.say(f"wrote {options.to}")
