"""A page to look and play."""

from keras_fracture.cli import verbs


def add_demo(commands):
    """Adds `demo`."""
    verb = verbs.add(
        commands, "demo", demo, "a page to look and play: read, draw and paint X-rays (needs the extra `demo`)",
        "keras-fracture demo --port 7861 --no-browser",
    )  # fmt: skip
    verb.add_argument(
        "--port", type=int, default=7860, help="of 127.0.0.1, this machine alone (default 7860)"
    )
    verb.add_argument("--no-browser", action="store_true", help="open no browser, print the address alone")
    verb.add_argument(
        "--models",
        nargs="+",
        metavar="FOLDER",
        default=[],
        help="of models (NAME/NUMBER), or one model's; or a name of `models list` (default: all that are here)",
    )


def demo(options):
    """`demo`."""
    verbs.import_tensorflow()
    from keras_fracture.demo import page

    page.serve(options.port, options.models, not options.no_browser)
