"""The command line: one thin command a verb. Heavy imports happen inside the commands, so --help is instant."""

import contextlib
import errno
import logging
import os
import sys

from keras_fracture import __version__, progress
from keras_fracture.cli import (
    completion,
    data,
    demo,
    evaluating,
    judging,
    models,
    papers,
    predicting,
    scoring,
    serving,
    verbs,
)
from keras_fracture.errors import FractureError, printable

__all__ = ["build_parser", "main", "run"]
# What the user can do something about; of anything else the traceback tells more.
_MENDABLE = (
    errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.ENOENT, errno.ENOTDIR, errno.EISDIR,
    errno.ENAMETOOLONG,
)  # fmt: skip


def main(arguments=None):
    """Runs the command line; returns the exit code, see `run`."""
    parser = build_parser()
    completion.answer(parser)
    return run(parser, arguments)


def run(parser, arguments=None):
    """Parses arguments and carries out their command. What the user can mend is one line on standard error.

    Args:
        parser: Made by `verbs.parser`; its commands were added by `verbs.add`.
        arguments: A list of str; None is the process's own.

    Returns:
        The exit code: 0, 2 for anything the user can mend, 130 after an interruption, 141 where nobody reads on, as
        behind `| head`.
    """
    options = parser.parse_args(arguments)
    logging.lastResort.setFormatter(_Printable())
    try:
        quiet = progress.quiet() if options.quiet else contextlib.nullcontext()
        with quiet, contextlib.redirect_stdout(_Shown(sys.stdout)):
            options.command(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at its end, which would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except FractureError as error:
        return _fail(parser, options, error)
    except OSError as error:
        if error.errno not in _MENDABLE:
            raise
        return _fail(parser, options, error)
    except KeyboardInterrupt:
        hint = "; --resume goes on with a run" if "resume" in options else ""
        print(f"{parser.prog}: stopped{hint}", file=sys.stderr)
        return 130
    return 0


class _Shown:
    """A stream on which names of files, and other words of strangers, move no cursor and colour nothing."""

    def __init__(self, stream):
        self._stream = stream

    def write(self, text):
        self._stream.write(printable(text, but="\n"))
        return len(text)

    def __getattr__(self, name):
        return getattr(self._stream, name)


class _Printable(logging.Formatter):
    """The same for warnings."""

    def format(self, record):
        return printable(super().format(record), but="\n")


def _fail(parser, options, error):
    if options.debug:
        raise error
    print(f"{parser.prog}: {printable(' '.join(str(error).split()))}", file=sys.stderr)
    return 2


def build_parser():
    """The parser of all commands."""
    parser = verbs.parser(
        "keras-fracture",
        "Five papers on bone X-rays, rebuilt in Keras 3. Not for clinical use.",
        "keras-fracture reproduce ibrahim_gan --profile smoke",
    )
    parser.add_argument("--version", action="version", version=f"keras-fracture {__version__}")
    commands = verbs.commands(parser)
    data.add_data(commands)
    papers.add_reproduce(commands)
    evaluating.add_evaluate(commands)
    scoring.add_score(commands)
    judging.add_judge(commands)
    models.add_models(commands)
    models.add_generate(commands)
    models.add_export(commands)
    predicting.add_predict(commands)
    serving.add_serve(commands)
    demo.add_demo(commands)
    models.add_convert(commands)
    papers.add_tables(commands)
    return parser
