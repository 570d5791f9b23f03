"""Measurements on this machine."""

from keras_fracture.cli import verbs


def add_benchmark(commands):
    """Adds `benchmark`."""
    benchmark = commands.add_parser(
        "benchmark", help="measure the input pipeline, training or serving on this machine"
    )
    kinds = benchmark.add_subparsers(title="commands", required=True, metavar="COMMAND")
    verb = verbs.add(
        kinds, "models", benchmark_models, "time training steps beside PyTorch, on the CPU (needs a checkout)",
        "keras-fracture benchmark models --models resnet18 drn_d_22 --json results/benchmark_models.json",
    )  # fmt: skip
    verb.add_argument(
        "--models",
        nargs="+",
        metavar="NAME",
        help="classifiers, dcgan or unit (default: six classifiers, the smaller of each family)",
    )
    verb.add_argument("--batch-size", type=int, help="pictures a step (default 16; dcgan 32, unit 1 pair)")
    verb.add_argument("--image-size", type=int, help="side in pixels (default 224; dcgan and unit 64)")
    verb.add_argument("--steps", type=int, default=10, help="timed steps, their median counts (default 10)")
    verb.add_argument(
        "--precision",
        nargs="+",
        metavar="P",
        help="float32, bfloat16 (default: float32, and bfloat16 on CPUs with AVX512_BF16 or AMX)",
    )
    verb.add_argument("--json", metavar="FILE", help="also write the numbers and conditions here")
    verb = verbs.add(
        kinds, "data", benchmark_data, "time the input pipeline",
        "keras-fracture benchmark data --data fracatlas",
    )  # fmt: skip
    verb.add_argument("--data", default="phantom", metavar="NAME", help="data set (default: phantom)")
    verb.add_argument("--count", type=int, default=3000, help="pictures (default 3000)")
    verb.add_argument("--json", metavar="FILE", help="also write the numbers and conditions here")
    verbs.data_dir(verb)
    verb = verbs.add(
        kinds, "serving", benchmark_serving, "compare an exported classifier's answers to files with training's",
        "keras-fracture benchmark serving --data fracatlas --count 500",
    )  # fmt: skip
    verb.add_argument("--data", default="phantom", metavar="NAME", help="data set (default: phantom)")
    verb.add_argument("--count", type=int, default=500, help="files (default 500)")
    verb.add_argument(
        "--model", metavar="DIR", help="SavedModel folder (default: a small untrained ResNet-18)"
    )
    verbs.data_dir(verb)
    verb = verbs.add(
        kinds, "server", benchmark_server, "put requests to `serve`: lost ones, times, memory, overhead",
        "keras-fracture benchmark server --requests 2000 --clients 8",
    )  # fmt: skip
    verb.add_argument("--requests", type=int, default=2000, help="over REST, one picture each (default 2000)")
    verb.add_argument("--clients", type=int, default=8, help="asking at once (default 8)")
    verb.add_argument(
        "--model", metavar="DIR", help="SavedModel folder (default: a small untrained compact_cnn)"
    )

    verb = verbs.add(
        kinds, "startup", benchmark_startup, "time imports and commands that need no TensorFlow, in fresh processes",
        "keras-fracture benchmark startup",
    )  # fmt: skip
    verb.add_argument("--repeats", type=int, default=7, help="rounds, medians count (default 7)")


def benchmark_startup(options):
    """`benchmark startup`."""
    from keras_fracture.benchmarks import startup

    _show(startup.measure_startup(options.repeats), startup.GOALS)


def benchmark_data(options):
    """`benchmark data`."""
    verbs.import_tensorflow()
    from keras_fracture.benchmarks import data

    found = data.measure_data(options.data, options.count, options.data_dir, out=options.json)
    _show(found, data.GOALS)
    if options.json:
        print(f"wrote {options.json}")


def benchmark_serving(options):
    """`benchmark serving`."""
    verbs.import_tensorflow()
    from keras_fracture.benchmarks.serving import measure_serving

    _show(measure_serving(options.data, options.count, options.model, options.data_dir))


def benchmark_server(options):
    """`benchmark server`."""
    verbs.import_tensorflow()
    from keras_fracture.benchmarks.load import measure_server

    _show(measure_server(options.requests, options.clients, options.model))


def _show(found, goals=()):
    """Prints a line a number, and its goal where it has one; None is what could not be measured."""
    for name, number in found.items():
        shown = "none" if number is None else f"{number:.4g}"
        print(f"{name:<62}{shown:>10}" + (f"   goal: {goals[name]}" if name in goals else ""))


def benchmark_models(options):
    """`benchmark models`."""
    verbs.import_tensorflow()
    from keras_fracture.benchmarks import models

    sizes = options.batch_size, options.image_size, options.steps
    names = options.models or models.DEFAULT
    models.measure(names, *sizes, options.precision, out=options.json)
    if options.json:
        print(f"wrote {options.json}")
