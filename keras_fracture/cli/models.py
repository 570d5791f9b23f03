"""Trained models: draw pictures, carry weights."""

from keras_fracture.cli import verbs


def add_generate(commands):
    """Adds `generate`."""
    verb = verbs.add(
        commands, "generate", generate, "write synthetic pictures from a trained generator",
        "keras-fracture generate runs/bai_dcgan/TIME --count 500 --seed 1 --out synthetic",
    )  # fmt: skip
    verb.add_argument("generator", help="run folder, SavedModel folder, .keras or .weights.h5 file")
    verb.add_argument("--out", required=True, metavar="DIR", help="folder to write PNGs and pictures.csv to")
    verb.add_argument("--count", type=int, default=100, help="pictures (default 100)")
    verb.add_argument("--seed", type=int, default=0, help="of the noise (default 0)")
    verb.add_argument("--class", dest="label", metavar="NAME", help="one class (default: all in turn)")
    verb.add_argument("--model", help="architecture of a .weights.h5 file, such as dcgan_generator")
    verb.add_argument("--shard", metavar="I/N", help="draw only the I-th of N parts of the pictures")


def add_export(commands):
    """Adds `export`."""
    verb = verbs.add(
        commands, "export", export, "write a trained model as a SavedModel with a model card, for TensorFlow Serving",
        "keras-fracture export runs/lisbon_resnet/TIME --which grouped/resnet18 --to saved_models/resnet18_fracatlas",
    )  # fmt: skip
    verb.add_argument(
        "source",
        nargs="?",
        help="run folder, .keras or .weights.h5 file (default: random weights of --model)",
    )
    verb.add_argument(
        "--to", required=True, metavar="DIR", help="the model's folder; its name is the model's"
    )
    verb.add_argument("--version", type=int, default=1, help="positive number (default 1)")
    verb.add_argument("--model", help="architecture of a .weights.h5 file, such as resnet18")
    verb.add_argument(
        "--which", metavar="NAME", help="of a run with several models: SPLIT/MODEL/VARIANT, or its beginning"
    )


def add_convert(commands):
    """Adds `convert`."""
    verb = verbs.add(
        commands, "convert", convert, "carry weights between PyTorch and Keras",
        "keras-fracture convert weights.pth --model resnet18 --to resnet18.weights.h5",
    )  # fmt: skip
    verb.add_argument("weights", help=".pth, .pt, .safetensors or .weights.h5 file")
    verb.add_argument("--model", required=True, help="architecture, such as resnet18")
    verb.add_argument("--to", required=True, metavar="FILE", help="file to write; its ending says which kind")
    verb.add_argument("--num-classes", type=int, help="of the weights file (default: the model's own)")
    verb.add_argument(
        "--names", help="name map: torchvision_resnet, drn or dcgan (default: by name or order)"
    )


def generate(options):
    """`generate`."""
    from keras_fracture.serving import sharding

    shard = sharding.parse(options.shard)
    verbs.import_tensorflow()
    from keras_fracture import serving

    given = options.count, options.seed, options.label, options.model, shard
    table = serving.generate(options.generator, options.out, *given)
    print(f"wrote {len(table):,} pictures and pictures.csv to {options.out}")


def export(options):
    """`export`."""
    verbs.import_tensorflow()
    from keras_fracture.serving.releasing import release

    where = release(options.source, options.to, options.version, options.model, options.which)
    print(f"wrote {where}: SavedModel, metadata.json, model_card.md")


def convert(options):
    """`convert`."""
    verbs.import_tensorflow()
    from keras_fracture.interop.convert import convert as carry

    classes = {} if options.num_classes is None else {"num_classes": options.num_classes}
    carry(options.weights, options.model, options.to, options.names, **classes)
    print(f"wrote {options.to}")
