"""What takes too long for the tests of faults; RELIABILITY.md shows the results.

    python -m benchmarks.soak kills
    unshare -rm python -m benchmarks.soak full         # its mounts are its own
    python -m benchmarks.soak train
    python -m benchmarks.soak requests
    python -m benchmarks.soak restarts
    python -m benchmarks.soak inputs
    python -m benchmarks.soak kills --papers bai_dcgan --times 5 --results r.json

Each part adds what it measured to results/reliability.json.
"""

import argparse
import datetime
import importlib
import shlex
import sys

from tests.faults import faulty

# Modules in this folder: a part's packages are imported only when it runs.
PARTS = {
    "kills": "disturbances", "full": "disturbances", "train": "training", "inputs": "inputs",
    "requests": "server_requests", "restarts": "server_restarts",
}  # fmt: skip


def main(arguments=None):
    """Runs one part and records its results; returns 1 if anything went wrong, else 0.

    A part is a function of the options that yields key, description, how often it was tried, how often it went well,
    and details, of which RELIABILITY.md shows `seen`.
    """
    parser = build_parser()
    options = parser.parse_args(arguments)
    command = _command(parser, options)
    part = getattr(importlib.import_module(f"benchmarks.soak.{PARTS[options.part]}"), options.part)
    from keras_fracture.report.benchmarks import record

    failed = 0
    for key, description, tried, well, details in part(options):
        row = {"what": description, "tried": tried, "well": well, "details": details}
        row |= {"command": command, "date": datetime.date.today().isoformat()}
        record(options.results, key, row)
        failed += well < tried
        print(f"{description}: {well} of {tried} went well", details if well < tried else "", flush=True)
    return 1 if failed else 0


def build_parser():
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--papers", nargs="+", default=list(faulty.ARGUMENTS), metavar="KEY")
    parser.add_argument("--times", type=int, default=20, help="faults a paper, or of a server (default 20)")
    parser.add_argument("--minutes", type=float, default=15, help="of each of two trainings (default 15)")
    parser.add_argument("--requests", type=int, default=20_000, help="to one server (default 20000)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--results", default="results/reliability.json", metavar="FILE")
    return parser


def _command(parser, options):
    """What was asked for, but for where it is recorded."""
    words = ["python", "-m", "benchmarks.soak", options.part]
    for name, value in vars(options).items():
        if name not in ("part", "results") and value != parser.get_default(name):
            words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)


if __name__ == "__main__":
    sys.exit(main())
