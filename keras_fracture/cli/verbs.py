"""What all commands are made of."""

import argparse
from pathlib import Path

from keras_fracture.errors import meant, printable
from keras_fracture.lazy import import_tensorflow  # noqa: F401 - of every command that computes

FORM = argparse.RawDescriptionHelpFormatter


class _Parser(argparse.ArgumentParser):
    """argparse's, whose errors are one line and say what was meant."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {printable(message)} (see {self.prog} --help)\n")

    def parse_known_args(self, args=None, namespace=None):
        # Here, where the options of the command at hand are known, and not at the program's end.
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [name for action in self._actions for name in action.option_strings]
            hints = (meant(one.partition("=")[0], options) for one in unknown if one.startswith("-"))
            hint = next(filter(None, hints), "")
            self.error(f"There are no such arguments. {hint}Received: {' '.join(unknown)}")
        return namespace, unknown

    def _check_value(self, action, value):
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(
                action,
                f"Choose one of {', '.join(map(str, action.choices))}. {meant(value, action.choices)}"
                f"Received: {value!r}",
            )


def parser(program, description, example):
    """The parser of a program, to which commands are added; see `keras_fracture.cli.run`."""
    made = _Parser(prog=program, description=description, epilog=f"example: {example}", formatter_class=FORM)
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    _quiet(made, False)
    return made


def commands(parser, **options):
    """Argparse's subparsers of a parser, which without one of them prints its help; `options` are argparse's."""
    parser.set_defaults(command=lambda _: parser.print_help())
    return parser.add_subparsers(**{"title": "commands", "metavar": "COMMAND"} | options)


def _quiet(parser, default):
    parser.add_argument(
        "--quiet", action="store_true", default=default, help="print results and warnings alone, no progress"
    )


def add(commands, name, command, help_, example):
    """Adds a command to argparse's subparsers; `command` is a function of its options. Returns its parser."""
    verb = commands.add_parser(
        name, help=help_, description=help_, epilog=f"example: {example}", formatter_class=FORM
    )
    _quiet(verb, argparse.SUPPRESS)  # so that it may stand on either side of the command
    verb.set_defaults(command=command)
    return verb


def data_dir(verb):
    """Adds --data-dir."""
    verb.add_argument("--data-dir", metavar="DIR", help="where real data lie (default: KERAS_FRACTURE_DATA)")


def splits(verb):
    """Adds --splits."""
    verb.add_argument(
        "--splits",
        metavar="FILE",
        help="split file of `data split`, in place of a split policy (csv or csv.gz)",
    )


def own_data(verb):
    """Adds --finding, --columns and --patient, which say how own X-rays are read; see `reading`."""
    verb.add_argument(
        "--finding",
        metavar="LABEL",
        help="of your own X-rays: the label that is the finding, others being healthy",
    )
    verb.add_argument(
        "--columns", metavar="ROLE=COLUMN,...", help="of your own X-rays: what their table calls image, label, "
        "patient, study, body_part, view, split and boxes' sides, as image=path,label=dx,patient=pid"
    )  # fmt: skip
    verb.add_argument(
        "--patient", metavar="PATTERN", help=r"of your own X-rays: regular expression that tells the patient by a "
        r"file's path, as 'patient(\d+)_'"
    )  # fmt: skip


def reading(options):
    """What `own_data` added, as options of `data.prepare`."""
    return {"finding": options.finding, "columns": options.columns, "patient": options.patient}


def parallel(verb):
    """Adds --jobs and --cluster; see `workers`."""
    verb.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="processes of this machine (default 1)"
    )
    verb.add_argument(
        "--cluster", metavar="ADDRESS|FILE", help="instead: a Dask cluster by the address of its scheduler, as "
        "tcp://10.0.0.1:8786, or its scheduler file; its workers see the same files"
    )  # fmt: skip


def workers(options):
    """A context that gives the `parallel.Workers` that the options of `parallel` name."""
    from keras_fracture import parallel

    return parallel.workers(options.jobs, options.cluster)


def parts(out, resume):
    """Where answers that are to be written to `out` are kept until then, see `parallel`; None without `out`."""
    if not out:
        return None
    path = Path(f"{out}.parts")
    if not resume:
        path.unlink(missing_ok=True)
    return path


def image_files(paths):
    """Paths of image files; in place of a folder those of all images below it."""
    from keras_fracture.data.own import folders
    from keras_fracture.errors import ImageError
    from keras_fracture.serving import limits

    found = []
    for path in paths:
        if not Path(path).is_dir():
            limits.exists(path)
            found.append(path)
            continue
        below = folders.Folder(path).images
        if not below:
            raise ImageError(f"{path} holds no images ({', '.join(folders.SUFFIXES)}): name another folder")
        found += [str(Path(path) / name) for name in below]
    return found
