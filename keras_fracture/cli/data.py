"""Data sets: list, check, add, prepare, split, audit, baselines."""

import shlex
from pathlib import Path

from keras_fracture import progress
from keras_fracture.cli import verbs
from keras_fracture.errors import DataError, FractureError


def add_data(commands):
    """Adds `data`."""
    data = commands.add_parser(
        "data", help="list, check, add, prepare, split or audit data sets, or fit baselines"
    )
    kinds = verbs.commands(data)
    verb = verbs.add(
        kinds,
        "list",
        data_list,
        "list the data sets, and which of them are there",
        "keras-fracture data list",
    )
    verbs.data_dir(verb)
    verb = verbs.add(
        kinds, "check", data_check, "say what is understood of your own X-rays, and what is not used",
        r"keras-fracture data check my_folder --finding tumour --patient 'patient(\d+)_'",
    )  # fmt: skip
    verb.add_argument(
        "path", help="a folder of images, the table of them in it (csv or xlsx), or a name of `data add`"
    )
    verbs.own_data(verb)
    verb = verbs.add(
        kinds, "add", data_add, "remember your own X-rays, and how they are read, by a name",
        "keras-fracture data add hands my_folder --columns label=dx,patient=pid",
    )  # fmt: skip
    verb.add_argument("name", help="to be used as --data NAME")
    verb.add_argument("path", help="a folder of images, or the table of them in it (csv or xlsx)")
    verbs.own_data(verb)
    verb = verbs.add(
        kinds, "prepare", data_prepare, "write a data set's records for training",
        "keras-fracture data prepare fracatlas --policy grouped",
    )  # fmt: skip
    verb.add_argument("name", help="a data set, see `data list`, or the path of your own X-rays")
    verbs.own_data(verb)
    verb.add_argument(
        "--policy",
        default="grouped",
        help="split policy: grouped (default), paper, official or studies (of fracatlas)",
    )
    verbs.splits(verb)
    verb.add_argument("--shares", type=float, nargs=3, metavar="S", help="of train, validation and test")
    verb.add_argument("--seed", type=int, default=0, help="of the split (default 0)")
    verb.add_argument("--keep-conflicts", action="store_true", help="keep images with contradictory labels")
    verb.add_argument("--download", action="store_true", help="fetch FracAtlas (about 320 MB) first")
    verbs.data_dir(verb)
    verbs.parallel(verb)
    _add_split(kinds)
    verb = verbs.add(
        kinds, "baselines", data_baselines, "say what can be told of a data set's test images without a network",
        "keras-fracture data baselines fracatlas --policy grouped",
    )  # fmt: skip
    verb.add_argument("name", help="a data set, see `data list`, or the path of your own X-rays")
    verbs.own_data(verb)
    verb.add_argument("--policy", help="split policy (default: all that the set has)")
    verb.add_argument("--seeds", type=int, default=3, help="how many times each is fitted (default 3)")
    verb.add_argument("--out", metavar="FILE", help="csv file for the numbers")
    verbs.data_dir(verb)
    verbs.parallel(verb)
    verb = verbs.add(
        kinds, "audit", data_audit, "find what is wrong with a data set",
        "keras-fracture data audit kaggle_fracture --out audit/kaggle",
    )  # fmt: skip
    verb.add_argument("name", help="a data set, see `data list`, or the path of your own X-rays")
    verbs.own_data(verb)
    verb.add_argument(
        "--against", metavar="OTHER", help="instead: count the images that also stand in another data set, a name or "
        "path (of own X-rays with options of their own: a name of `data add`); --out then gets a csv of them"
    )  # fmt: skip
    verb.add_argument(
        "--out", metavar="DIR", help="folder for audit.json and audit.png (default: audit/NAME)"
    )
    verbs.data_dir(verb)
    verbs.parallel(verb)


def _add_split(kinds):
    verb = verbs.add(
        kinds, "split", data_split, "write which image is in which split, with hashes, for other programs and --splits",
        "keras-fracture data split fracatlas --policy grouped --seed 0 --out splits.csv",
    )  # fmt: skip
    verb.add_argument("name", help="a data set, see `data list`, or the path of your own X-rays")
    verbs.own_data(verb)
    verb.add_argument(
        "--policy",
        default="grouped",
        help="split policy: grouped (default), paper, official or studies (of fracatlas)",
    )
    verb.add_argument("--seed", type=int, default=0, help="of the split (default 0)")
    verb.add_argument("--out", metavar="FILE", required=True, help="csv, or packed csv.gz")
    verbs.data_dir(verb)


def data_list(options):
    """`data list`."""
    from keras_fracture.data import catalogue, locations, own

    parent = locations.data_dir(options.data_dir)
    print(f"{'name':<18}{'policies':<28}where")
    for name in catalogue.NAMES:
        if name not in catalogue.REAL:
            print(f"{name:<18}{'grouped, paper':<28}embedded, drawn by code")
            continue
        layout = catalogue.layout(name)
        try:
            folder = locations.find(layout, options.data_dir)
        except DataError:
            folder = f"not in {parent}. {layout.HOW_TO_GET}"
        print(f"{name:<18}{', '.join(layout.POLICIES):<28}{folder}")
    for name, entry in own.remembered.read().items():
        gone = "" if Path(entry["path"]).exists() else ", which is gone"
        print(f"{name:<18}{'added by `data add`':<28}{shlex.join([entry['path'], *_told(entry)])}{gone}")


def _told(reading):
    """Options of `verbs.own_data` as words of a command line."""
    return [
        f"--{name}={reading[name]}" for name in ("finding", "columns", "patient") if reading[name] is not None
    ]


def data_check(options):
    """`data check`."""
    from keras_fracture.data.own import checking

    reading = verbs.reading(options)
    lines, policy = checking.lines(_own(options.path, reading))
    print("\n".join(lines))
    if policy is None:
        raise DataError(
            "No split of these images by sources can be trained and measured on: see above. "
            f"Received: {options.path}"
        )
    words = ["keras-fracture", "reproduce", "lisbon_resnet", "--data", options.path, *_told(reading)]
    progress.say(f"go on with: {shlex.join([*words, '--set', f'policies={policy}'])}")


def data_add(options):
    """`data add`."""
    from keras_fracture.data import catalogue, own

    reading = verbs.reading(options)
    path = Path(options.path).expanduser().resolve()
    layout = _own(str(path), reading)
    own.remembered.add(options.name, path, catalogue.NAMES, **reading)
    print("\n".join([*layout.notes, layout.told]))
    progress.say(f"go on with: keras-fracture reproduce lisbon_resnet --data {options.name}")


def _own(name, reading):
    """The layout of own X-rays."""
    from keras_fracture.data import own

    layout = own.find(name, **reading)
    if layout is None:
        raise DataError(
            f"There is no such folder or file: name one that holds your X-rays. Received: {name!r}"
        )
    return layout


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
    with verbs.workers(options) as workers:
        builder = data.prepare(
            options.name,
            options.policy,
            shares=options.shares,
            seed=options.seed,
            splits=options.splits,
            data_dir=options.data_dir,
            keep_conflicts=options.keep_conflicts,
            workers=workers,
            **verbs.reading(options),
        )
    for name, split in builder.info.splits.items():
        print(f"{name:<12}{split.num_examples:>7,} images")
    print(f"in {builder.data_dir}")


def data_split(options):
    """`data split`."""
    verbs.import_tensorflow()
    from keras_fracture import data
    from keras_fracture.data import split_files, splits

    reading = verbs.reading(options)
    records = data.load_all(
        options.name, options.policy, seed=options.seed, data_dir=options.data_dir, **reading
    )
    rows = split_files.table(options.name, records, options.data_dir, **reading)
    content = split_files.text(rows)
    path = split_files.write(options.out, content)
    for split, members in rows.groupby("split"):
        print(
            f"{split:<12}{len(members):>7,} images, {members['label'].astype(int).sum():>6,} with a finding"
        )
    if lack := splits.lack_for_intervals(records["test"].table):
        print(lack)
    print(f"wrote {path}, whose text has the SHA-256 {split_files.digest(content)}")


def data_audit(options):
    """`data audit`."""
    from keras_fracture import files
    from keras_fracture.data import audit, catalogue

    if options.against:
        _audit_against(options)
        return
    name = catalogue.title(options.name)
    out = files.folder(options.out or f"audit/{name}")
    with verbs.workers(options) as workers:
        contents = catalogue.catalogue(
            options.name, options.data_dir, workers=workers, **verbs.reading(options)
        )
    report = audit.examine(name, contents)
    print(audit.as_text(report))
    for path in audit.write(report, out, contents.root):
        progress.say(f"wrote {path}")


def _audit_against(options):
    """`data audit --against`."""
    from keras_fracture.data import across, catalogue

    names = [catalogue.title(name) for name in (options.name, options.against)]
    with verbs.workers(options) as workers:
        ours = catalogue.catalogue(options.name, options.data_dir, workers=workers, **verbs.reading(options))
        theirs = catalogue.catalogue(options.against, options.data_dir, workers=workers)
    report = across.compare(names[0], ours, names[1], theirs)
    print(across.as_text(report))
    if options.out:
        progress.say(f"wrote {across.write(report, options.out)}")


def data_baselines(options):
    """`data baselines`."""
    if options.seeds < 1:
        raise DataError(f"--seeds must be at least 1. Received: {options.seeds}")
    verbs.import_tensorflow()
    from keras_fracture import files
    from keras_fracture.data import tables
    from keras_fracture.evaluation import baselines as measured
    from keras_fracture.report import baselines

    policies = (options.policy,) if options.policy else None
    with verbs.workers(options) as workers:
        table = measured.measure(
            options.name, policies, options.seeds, options.data_dir, workers, **verbs.reading(options)
        )
    for line in baselines.lines(table):
        print(line)
    if options.out:
        progress.say(f"wrote {files.write_text(options.out, tables.csv_text(table))}")
