"""What a shell completes at TAB: commands, options, names, files. Needs argcomplete (the extra `completion`)."""

import os


def answer(parser):
    """Answers a shell that asks for completions, and ends the process; does nothing where none asks."""
    if "_ARGCOMPLETE" not in os.environ:
        return
    import argcomplete

    argcomplete.autocomplete(parser, default_completer=_names_and_files)


def _names_and_files(prefix, action, parser, **_):
    from argcomplete.completers import FilesCompleter

    return [*_names(action.dest, parser.prog.split()[-1]), *FilesCompleter()(prefix)]


def _names(what, command):
    """Names that an argument may be."""
    from keras_fracture import papers
    from keras_fracture.data import catalogue, own
    from keras_fracture.serving import zoo

    if what == "data" or (what == "name" and command != "add"):
        return [*catalogue.NAMES, *own.remembered.read()]
    if what in ("generator", "folders", "models") or (what == "model" and command in ("predict", "evaluate")):
        return sorted(zoo.index())
    return papers.names() if what == "paper" else []
