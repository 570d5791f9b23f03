"""The command line: one thin command a verb. Heavy imports happen inside the commands, so --help is instant."""

import argparse
import errno
import sys

from keras_fracture import __version__
from keras_fracture.cli import benchmark, data, evaluating, models, papers, serving, verbs
from keras_fracture.errors import FractureError

__all__ = ["build_parser", "main"]


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
        formatter_class=verbs.FORM,
    )
    parser.add_argument("--version", action="version", version=f"keras-fracture {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    data.add_data(commands)
    papers.add_reproduce(commands)
    evaluating.add_evaluate(commands)
    models.add_generate(commands)
    models.add_export(commands)
    serving.add_predict(commands)
    serving.add_serve(commands)
    models.add_convert(commands)
    papers.add_tables(commands)
    benchmark.add_benchmark(commands)
    return parser
