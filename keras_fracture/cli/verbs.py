"""What all commands are made of."""

import argparse
import importlib
import logging
import os

FORM = argparse.RawDescriptionHelpFormatter


def parser(program, description, example):
    """The parser of a program, to which commands are added; see `keras_fracture.cli.run`."""
    made = argparse.ArgumentParser(
        prog=program, description=description, epilog=f"example: {example}", formatter_class=FORM
    )
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return made


def add(commands, name, command, help_, example):
    """Adds a command to argparse's subparsers; `command` is a function of its options. Returns its parser."""
    verb = commands.add_parser(
        name, help=help_, description=help_, epilog=f"example: {example}", formatter_class=FORM
    )
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


def import_tensorflow():
    """Imports TensorFlow without the lines its native code prints on stderr before logging can be set.

    A failing import still raises.
    """
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        importlib.import_module("tensorflow")
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)
    # One run builds many small models; that each is traced anew is no news.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
