"""Data sets: list, prepare, audit."""

from keras_fracture.cli import verbs
from keras_fracture.errors import FractureError


def add_data(commands):
    """Adds `data`."""
    data = commands.add_parser("data", help="list, prepare or audit data sets")
    kinds = data.add_subparsers(title="commands", required=True, metavar="COMMAND")
    verb = verbs.add(
        kinds,
        "list",
        data_list,
        "list the data sets, and which of them are there",
        "keras-fracture data list",
    )
    verbs.data_dir(verb)
    verb = verbs.add(
        kinds, "prepare", data_prepare, "write a data set's records for training",
        "keras-fracture data prepare fracatlas --policy grouped",
    )  # fmt: skip
    verb.add_argument("name", help="a data set, see `data list`")
    verb.add_argument(
        "--policy", default="grouped", help="split policy: grouped (default), paper or official"
    )
    verb.add_argument("--shares", type=float, nargs=3, metavar="S", help="of train, validation and test")
    verb.add_argument("--seed", type=int, default=0, help="of the split (default 0)")
    verb.add_argument("--keep-conflicts", action="store_true", help="keep images with contradictory labels")
    verb.add_argument("--download", action="store_true", help="fetch FracAtlas (about 320 MB) first")
    verbs.data_dir(verb)
    verb = verbs.add(
        kinds, "audit", data_audit, "find what is wrong with a data set",
        "keras-fracture data audit kaggle_fracture --out audit/kaggle",
    )  # fmt: skip
    verb.add_argument("name", help="a data set, see `data list`")
    verb.add_argument(
        "--out", metavar="DIR", help="folder for audit.json and audit.png (default: audit/NAME)"
    )
    verbs.data_dir(verb)


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
        folder = parent / layout.FOLDER if there else f"not in {parent}. {layout.HOW_TO_GET}"
        print(f"{name:<18}{', '.join(layout.POLICIES):<28}{folder}")


def data_prepare(options):
    """`data prepare`."""
    verbs.import_tensorflow()
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
        print(f"{name:<12}{split.num_examples:>7,} images")
    print(f"in {builder.data_dir}")


def data_audit(options):
    """`data audit`."""
    from keras_fracture import files
    from keras_fracture.data import audit, catalogue

    out = files.folder(options.out or f"audit/{options.name}")
    contents = catalogue.catalogue(options.name, options.data_dir)
    report = audit.examine(options.name, contents)
    print(audit.as_text(report))
    for path in audit.write(report, out, contents.root):
        print(f"wrote {path}")
