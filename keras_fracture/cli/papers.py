"""Papers: reproduce one, write the tables of README, docs and notebooks."""

from keras_fracture import papers, progress
from keras_fracture.cli import verbs
from keras_fracture.errors import FractureError


def add_reproduce(commands):
    """Adds `reproduce`."""
    keys = papers.names()
    verb = verbs.add(
        commands, "reproduce", reproduce, "reproduce a paper, on its data or on your own X-rays, and write a report",
        "keras-fracture reproduce ibrahim_gan --data kaggle_fracture --profile quick\n"
        "         keras-fracture reproduce lisbon_resnet --seeds 3 --cluster tcp://10.0.0.1:8786",
    )  # fmt: skip
    verb.add_argument(
        "paper",
        nargs="?",
        help=f"one of {', '.join(keys)}",
    )
    verb.add_argument(
        "--from",
        dest="config",
        metavar="FILE",
        help="instead: a run's config.json, whose settings are all repeated",
    )
    verb.add_argument("--profile", help="smoke (seconds to minutes), quick (minutes, default) or paper (GPU)")
    verb.add_argument(
        "--data", metavar="NAME", help="data set, or the path of your own X-rays (default: the paper's)"
    )
    verbs.own_data(verb)
    verbs.splits(verb)
    verb.add_argument("--seed", type=int, help="first seed (default 0)")
    verb.add_argument("--seeds", type=int, help="how many trainings of each classifier")
    verb.add_argument(
        "--epochs", type=int, help="of each classifier, of bai_dcgan's GAN (default: the profile's)"
    )
    configs = {key: papers.get(key).config.Config for key in keys}
    variants = [f"{key}: {', '.join(config.VARIANTS)}" for key, config in configs.items() if config.VARIANTS]
    verb.add_argument("--variant", help="; ".join(variants))
    for key, config in configs.items():
        for name, (_, _, help_) in config.OPTIONS.items():
            verb.add_argument(f"--{name}", nargs="+", help=f"{key}: {help_}")
    verb.add_argument(
        "--pretrained",
        metavar="MODEL",
        help="what classifiers start from: a trained model by name or path, or weights, .weights.h5 or PyTorch's .pth",
    )
    verb.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE",
        help="any other number of the paper's configuration, such as image_size=112 or policies=paper; may be repeated",
    )  # fmt: skip
    verb.add_argument("--out", metavar="DIR", help="run folder (default: runs/PAPER/TIME)")
    verb.add_argument(
        "--resume", action="store_true", help="go on with the newest unfinished run, or with --out"
    )
    verb.add_argument(
        "--strategy", default="none", metavar="NAME",
        help="train on one device (none, default), on all of this machine (mirrored), or on all machines that "
        "TF_CONFIG names (multiworker; start the same command on each)",
    )  # fmt: skip
    verbs.parallel(verb)
    verb.add_argument("--results", metavar="DIR", help="also record the numbers in DIR/PAPER.json")
    verbs.data_dir(verb)


def add_tables(commands):
    """Adds `tables`."""
    verb = verbs.add(
        commands,
        "tables",
        tables,
        "rewrite the tables of README, BENCHMARKS, RELIABILITY, docs and notebooks from results/",
        "keras-fracture tables --check",
    )
    verb.add_argument(
        "files",
        nargs="*",
        help="Markdown files and notebooks (default: those of this checkout that have tables)",
    )
    verb.add_argument("--results", default="results", metavar="DIR")
    verb.add_argument("--check", action="store_true", help="write nothing, fail if a table is out of date")


def reproduce(options):
    """`reproduce`."""
    verbs.import_tensorflow()
    where = {name: getattr(options, name) for name in ("out", "resume", "data_dir", "results", "strategy")}
    if options.jobs == 1 and not options.cluster:
        out = _reproduce(options, where)
    else:
        with verbs.workers(options) as workers:
            out = _reproduce(options, where | {"workers": workers})
    if out is None:
        progress.say("done; the first worker wrote the report")
        return
    print((out / "report.md").read_text(encoding="utf-8"))
    progress.say(f"wrote {out}/report.html, report.md, metrics.json, figures and SavedModels")


def _reproduce(options, where):
    """The run folder; `where` are arguments of `papers.reproduce` and `papers.repeat`."""
    settings = {
        name: getattr(options, name)
        for name in ("data", "splits", "seed", "seeds", "epochs", "variant", "pretrained")
    } | verbs.reading(options)
    if options.config:
        shortcuts = [
            getattr(options, name) for key in papers.names() for name in papers.get(key).config.Config.OPTIONS
        ]
        given = [options.paper, options.profile, *options.settings, *settings.values(), *shortcuts]
        if any(one is not None for one in given):
            raise FractureError(
                "--from repeats a run as it was: leave out the paper, its profile and its settings"
            )
        return papers.repeat(options.config, **where)
    if not options.paper:
        raise FractureError(
            f"Name a paper, one of {', '.join(papers.names())}, or a run's config.json (--from)"
        )
    settings = {name: value for name, value in settings.items() if value is not None} | _shortcuts(options)
    return papers.reproduce(
        options.paper, options.profile or "quick", overrides=options.settings, **where, **settings
    )


def _shortcuts(options):
    """The settings that a paper's own options stand for."""
    settings = {}
    for key in papers.names():
        for name, (setting, convert, _) in papers.get(key).config.Config.OPTIONS.items():
            words = getattr(options, name)
            if words is not None and key != options.paper:
                raise FractureError(
                    f"--{name} is an option of {key} alone. Received: it with {options.paper}"
                )
            if words is not None:
                settings[setting] = tuple(convert(word) for word in words)
    return settings


def tables(options):
    """`tables`."""
    verbs.import_tensorflow()
    from keras_fracture.papers import tables as generated

    for path in options.files or generated.having():
        same = generated.update(path, options.results, options.check)
        print(f"{path} is up to date" if same else f"wrote {path}")
