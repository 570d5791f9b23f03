"""The command line: one thin command a verb. Heavy imports happen inside the commands, so --help is instant."""

import argparse
import errno
import importlib
import logging
import os
import sys

from keras_fracture import __version__
from keras_fracture.errors import FractureError

PAPERS = ("bai_dcgan", "garcia_inception", "gupta_unit", "lisbon_resnet", "ibrahim_gan")
_FORM = argparse.RawDescriptionHelpFormatter


def main(arguments=None):
    """Runs the command line; returns the exit code: 0, or 2 for anything the user can mend."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        options.command(options)
    except FractureError as error:
        return _fail(options, error)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.ENOENT):
            raise
        return _fail(options, error)
    except KeyboardInterrupt:
        print("keras-fracture: stopped; --resume goes on with a run", file=sys.stderr)
        return 130
    return 0


def _import_tensorflow():
    """Imports TensorFlow without the lines its native code prints on stderr before logging can be set.

    A failing import still raises.
    """
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        importlib.import_module("tensorflow")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
    # One run builds many small models; that each is traced anew is no news.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def _fail(options, error):
    if options.debug:
        raise error
    print(f"keras-fracture: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


def build_parser():
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="keras-fracture",
        description="Five papers on bone X-rays, rebuilt in Keras 3. Not for clinical use.",
        epilog="example: keras-fracture reproduce ibrahim_gan --profile smoke",
        formatter_class=_FORM,
    )
    parser.add_argument("--version", action="version", version=f"keras-fracture {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_data(verbs)
    _add_reproduce(verbs)
    _add_generate(verbs)
    _add_predict(verbs)
    _add_convert(verbs)
    _add_tables(verbs)
    _add_benchmark(verbs)
    return parser


def _verb(verbs, name, command, help_, example):
    verb = verbs.add_parser(
        name, help=help_, description=help_, epilog=f"example: {example}", formatter_class=_FORM
    )
    verb.set_defaults(command=command)
    return verb


def _data_dir(verb):
    verb.add_argument("--data-dir", metavar="DIR", help="where real data lie (default: KERAS_FRACTURE_DATA)")


def _add_data(verbs):
    data = verbs.add_parser("data", help="list, prepare or audit data sets")
    kinds = data.add_subparsers(title="commands", required=True, metavar="COMMAND")
    verb = _verb(
        kinds,
        "list",
        data_list,
        "list the data sets, and which of them are there",
        "keras-fracture data list",
    )
    _data_dir(verb)
    verb = _verb(
        kinds, "prepare", data_prepare, "write a data set's records for training",
        "keras-fracture data prepare fracatlas --policy grouped",
    )  # fmt: skip
    verb.add_argument("name", help="a data set, see `data list`")
    verb.add_argument(
        "--policy", default="grouped", help="split policy: grouped (default), paper or official"
    )
    verb.add_argument("--shares", type=float, nargs=3, metavar="S", help="of train, validation and test")
    verb.add_argument("--seed", type=int, default=0, help="of the split (default 0)")
    verb.add_argument("--keep-conflicts", action="store_true", help="keep pictures with contradictory labels")
    verb.add_argument("--download", action="store_true", help="fetch FracAtlas (about 320 MB) first")
    _data_dir(verb)
    verb = _verb(
        kinds, "audit", data_audit, "find what is wrong with a data set",
        "keras-fracture data audit kaggle_fracture --out audit/kaggle",
    )  # fmt: skip
    verb.add_argument("name", help="a data set, see `data list`")
    verb.add_argument(
        "--out", metavar="DIR", help="folder for audit.json and audit.png (default: audit/NAME)"
    )
    _data_dir(verb)


def _add_reproduce(verbs):
    verb = _verb(
        verbs, "reproduce", reproduce, "carry out a paper's recipe and write a report",
        "keras-fracture reproduce ibrahim_gan --data kaggle_fracture --profile quick",
    )  # fmt: skip
    verb.add_argument(
        "paper", help=f"one of {', '.join(PAPERS)}; or xray_features, what generators are judged by"
    )
    verb.add_argument(
        "--profile", default="quick", help="smoke (seconds), quick (minutes, default) or paper (GPU)"
    )
    verb.add_argument("--data", metavar="NAME", help="data set (default: the recipe's)")
    verb.add_argument("--seed", type=int, help="first seed (default 0)")
    verb.add_argument("--seeds", type=int, help="how many trainings of each classifier")
    verb.add_argument("--epochs", type=int, help="of each classifier (default: the profile's)")
    verb.add_argument(
        "--depth", type=int, nargs="+", help="lisbon_resnet: 18, 34, 50, 101, 152 (default: all)"
    )
    verb.add_argument("--variant", help="lisbon_resnet: paper (default), tuned; bai_dcgan: paper, modern")
    verb.add_argument("--pretrained", metavar="FILE", help=".weights.h5 that classifiers start from")
    verb.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE",
        help="any other number of the recipe, such as image_size=112 or policies=paper; may be repeated",
    )  # fmt: skip
    verb.add_argument("--out", metavar="DIR", help="run folder (default: runs/PAPER/TIME)")
    verb.add_argument(
        "--resume", action="store_true", help="go on with the newest unfinished run, or with --out"
    )
    verb.add_argument("--results", metavar="DIR", help="also record the numbers in DIR/PAPER.json")
    _data_dir(verb)


def _add_generate(verbs):
    verb = _verb(
        verbs, "generate", generate, "write synthetic pictures from a trained generator",
        "keras-fracture generate runs/bai_dcgan/TIME --count 500 --seed 1 --out synthetic",
    )  # fmt: skip
    verb.add_argument("generator", help="run folder, SavedModel folder, .keras or .weights.h5 file")
    verb.add_argument("--out", required=True, metavar="DIR", help="folder to write PNGs and pictures.csv to")
    verb.add_argument("--count", type=int, default=100, help="pictures (default 100)")
    verb.add_argument("--seed", type=int, default=0, help="of the noise (default 0)")
    verb.add_argument("--class", dest="label", metavar="NAME", help="one class (default: all in turn)")
    verb.add_argument("--model", help="architecture of a .weights.h5 file, such as dcgan_generator")


def _add_predict(verbs):
    verb = _verb(
        verbs, "predict", predict, "probabilities of a finding for pictures, from an exported classifier",
        "keras-fracture predict runs/ibrahim_gan/TIME/grouped/classifiers/original/saved_model hand.jpg",
    )  # fmt: skip
    verb.add_argument("model", help="SavedModel folder written by this package (with or without its version)")
    verb.add_argument("pictures", nargs="+", help="JPEG or PNG files")


def _add_convert(verbs):
    verb = _verb(
        verbs, "convert", convert, "carry weights between PyTorch and Keras",
        "keras-fracture convert weights.pth --model resnet18 --to resnet18.weights.h5",
    )  # fmt: skip
    verb.add_argument("weights", help=".pth, .pt, .safetensors or .weights.h5 file")
    verb.add_argument("--model", required=True, help="architecture, such as resnet18")
    verb.add_argument("--to", required=True, metavar="FILE", help="file to write; its ending says which kind")
    verb.add_argument("--num-classes", type=int, help="of the weights file (default: the model's own)")
    verb.add_argument(
        "--names", help="name map: torchvision_resnet, drn or dcgan (default: by name or order)"
    )


def _add_tables(verbs):
    verb = _verb(
        verbs, "tables", tables, "rewrite README's tables from results/", "keras-fracture tables --check"
    )
    verb.add_argument("--readme", default="README.md")
    verb.add_argument("--results", default="results", metavar="DIR")
    verb.add_argument("--check", action="store_true", help="write nothing, fail if a table is out of date")


def _add_benchmark(verbs):
    benchmark = verbs.add_parser(
        "benchmark", help="measure the input pipeline, training or serving on this machine"
    )
    kinds = benchmark.add_subparsers(title="commands", required=True, metavar="COMMAND")
    verb = _verb(
        kinds, "models", benchmark_models, "time training steps beside PyTorch, on the CPU (needs a checkout)",
        "keras-fracture benchmark models --models resnet18 drn_d_22 --json results/benchmark_models.json",
    )  # fmt: skip
    verb.add_argument(
        "--models",
        nargs="+",
        metavar="NAME",
        help="classifiers, dcgan or unit (default: six classifiers, the smaller of each family)",
    )
    verb.add_argument("--batch-size", type=int, help="pictures a step (default 16; dcgan 32, unit 1 pair)")
    verb.add_argument("--image-size", type=int, help="side in pixels (default 224; dcgan and unit 64)")
    verb.add_argument("--steps", type=int, default=10, help="timed steps, their median counts (default 10)")
    verb.add_argument(
        "--precision",
        nargs="+",
        metavar="P",
        help="float32, bfloat16 (default: float32, and bfloat16 on CPUs with AVX512_BF16 or AMX)",
    )
    verb.add_argument("--json", metavar="FILE", help="also write the numbers and conditions here")
    verb = _verb(
        kinds, "data", benchmark_data, "time the input pipeline",
        "keras-fracture benchmark data --data fracatlas",
    )  # fmt: skip
    verb.add_argument("--data", default="phantom", metavar="NAME", help="data set (default: phantom)")
    verb.add_argument("--count", type=int, default=3000, help="pictures (default 3000)")
    _data_dir(verb)
    verb = _verb(
        kinds, "serving", benchmark_serving, "compare an exported classifier's answers to files with training's",
        "keras-fracture benchmark serving --data fracatlas --count 500",
    )  # fmt: skip
    verb.add_argument("--data", default="phantom", metavar="NAME", help="data set (default: phantom)")
    verb.add_argument("--count", type=int, default=500, help="files (default 500)")
    verb.add_argument(
        "--model", metavar="DIR", help="SavedModel folder (default: a small untrained ResNet-18)"
    )
    _data_dir(verb)


def data_list(options):
    """`data list`."""
    from keras_fracture.data import catalogue, locations

    parent = locations.data_dir(options.data_dir)
    print(f"{'name':<18}{'policies':<28}where")
    for name in catalogue.NAMES:
        if name not in catalogue.REAL:
            print(f"{name:<18}{'grouped, paper':<28}embedded, drawn by code")
            continue
        layout = catalogue.layout(name)
        there = (parent / layout.FOLDER).is_dir()
        place = parent / layout.FOLDER if there else f"not in {parent}. {layout.HOW_TO_GET}"
        print(f"{name:<18}{', '.join(layout.POLICIES):<28}{place}")


def data_prepare(options):
    """`data prepare`."""
    _import_tensorflow()
    from keras_fracture import data
    from keras_fracture.data import locations

    if options.download:
        if options.name != "fracatlas":
            raise FractureError(
                f"Only fracatlas can be downloaded by this command. Received: {options.name!r}"
            )
        from keras_fracture.data.download import download_fracatlas

        download_fracatlas(locations.data_dir(options.data_dir))
    builder = data.prepare(
        options.name,
        options.policy,
        shares=options.shares,
        seed=options.seed,
        data_dir=options.data_dir,
        keep_conflicts=options.keep_conflicts,
    )
    for name, split in builder.info.splits.items():
        print(f"{name:<12}{split.num_examples:>7,} pictures")
    print(f"in {builder.data_dir}")


def data_audit(options):
    """`data audit`."""
    from keras_fracture import files
    from keras_fracture.data import audit, catalogue

    out = files.folder(options.out or f"audit/{options.name}")
    found = catalogue.catalogue(options.name, options.data_dir)
    report = audit.examine(options.name, found)
    print(audit.as_text(report))
    for path in audit.write(report, out, found.root):
        print(f"wrote {path}")


def reproduce(options):
    """`reproduce`."""
    _import_tensorflow()
    from keras_fracture import papers

    out = papers.reproduce(
        options.paper,
        options.profile,
        out=options.out,
        resume=options.resume,
        data_dir=options.data_dir,
        results=options.results,
        data=options.data,
        seed=options.seed,
        seeds=options.seeds,
        epochs=options.epochs,
        variant=options.variant,
        pretrained=options.pretrained,
        models=options.depth and tuple(f"resnet{depth}" for depth in options.depth),
        texts=options.settings,
    )
    print((out / "report.md").read_text(encoding="utf-8"))
    print(f"wrote {out}/report.md, metrics.json, figures and SavedModels")


def generate(options):
    """`generate`."""
    _import_tensorflow()
    from keras_fracture import serving

    serving.generate(
        options.generator, options.out, options.count, options.seed, options.label, options.model
    )
    print(f"wrote {options.count:,} pictures and pictures.csv to {options.out}")


def predict(options):
    """`predict`."""
    _import_tensorflow()
    from keras_fracture import serving

    for picture, probabilities in serving.predict(options.model, options.pictures):
        print(f"{picture}\t" + "\t".join(f"{value:.6f}" for value in probabilities))


def convert(options):
    """`convert`."""
    _import_tensorflow()
    from keras_fracture.interop.convert import convert as carry

    classes = {} if options.num_classes is None else {"num_classes": options.num_classes}
    carry(options.weights, options.model, options.to, options.names, **classes)
    print(f"wrote {options.to}")


def benchmark_data(options):
    """`benchmark data`."""
    _import_tensorflow()
    from keras_fracture.benchmarks.data import measure_data

    for name, number in measure_data(options.data, options.count, options.data_dir).items():
        print(f"{name:<62}{number:>10.4g}")


def benchmark_serving(options):
    """`benchmark serving`."""
    _import_tensorflow()
    from keras_fracture.benchmarks.serving import measure_serving

    sizes = options.data, options.count, options.model, options.data_dir
    for name, number in measure_serving(*sizes).items():
        print(f"{name:<62}{number:>10.4g}")


def benchmark_models(options):
    """`benchmark models`."""
    _import_tensorflow()
    from keras_fracture.benchmarks import models

    sizes = options.batch_size, options.image_size, options.steps
    names = options.models or models.DEFAULT
    models.measure(names, *sizes, options.precision, out=options.json)
    if options.json:
        print(f"wrote {options.json}")


def tables(options):
    """`tables`."""
    from keras_fracture.report import tables as made

    same = made.update(options.readme, options.results, options.check)
    print(f"{options.readme} is up to date" if same else f"wrote {options.readme}")


if __name__ == "__main__":
    sys.exit(main())
