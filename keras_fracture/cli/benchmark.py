"""Measurements on this machine."""

from keras_fracture.cli import verbs


def add_benchmark(commands):
    """Adds `benchmark`."""
    benchmark = commands.add_parser(
        "benchmark", help="measure training, the input pipeline or serving on this machine"
    )
    kinds = benchmark.add_subparsers(title="commands", required=True, metavar="COMMAND")
    verb = _add(
        kinds, "models", benchmark_models, "time training steps beside PyTorch, on the CPU (needs a checkout)",
        "--models resnet18 drn_d_22 --json benchmark.json",
    )  # fmt: skip
    verb.add_argument(
        "--models", nargs="+", metavar="NAME", help="architectures (default: one or more of each family)"
    )
    verb.add_argument("--batch-size", type=int, help="images a step (default: each model's own)")
    verb.add_argument("--image-size", type=int, help="side in pixels (default: each model's own)")
    verb.add_argument("--steps", type=int, default=20, help="timed steps, their median counts (default 20)")
    verb.add_argument(
        "--precision",
        nargs="+",
        metavar="P",
        help="float32, bfloat16 (default: float32, and bfloat16 on CPUs with AVX512_BF16 or AMX)",
    )
    verb = _add(
        kinds, "profile", benchmark_profile, "which operations our training steps spend their time in",
        "--models compact_cnn dcgan",
    )  # fmt: skip
    verb.add_argument("--models", nargs="+", metavar="NAME", help="architectures (default: as `models`)")
    verb.add_argument("--steps", type=int, default=3, help="traced steps (default 3)")
    verb = _add(kinds, "data", benchmark_data, "time the input pipeline", "--data fracatlas")
    _data(verb)
    verb.add_argument("--count", type=int, default=3000, help="images (default 3000)")
    verb = _add(
        kinds, "serving", benchmark_serving, "compare an exported classifier's answers to files with training's",
        "--data fracatlas --count 500",
    )  # fmt: skip
    _data(verb)
    verb.add_argument("--count", type=int, default=500, help="files (default 500)")
    verb.add_argument(
        "--model", metavar="DIR", help="SavedModel folder (default: a small untrained ResNet-18)"
    )
    verb = _add(
        kinds, "server", benchmark_server, "put requests to `serve`: lost ones, times, memory, overhead",
        "--requests 2000 --clients 8",
    )  # fmt: skip
    verb.add_argument("--requests", type=int, default=2000, help="over REST, one image each (default 2000)")
    verb.add_argument("--clients", type=int, default=8, help="asking at once (default 8)")
    verb.add_argument(
        "--model", metavar="DIR", help="SavedModel folder (default: a small untrained compact_cnn)"
    )
    verb = _add(
        kinds, "startup", benchmark_startup, "time imports and commands that need no TensorFlow, in fresh processes"
    )  # fmt: skip
    verb.add_argument("--repeats", type=int, default=7, help="rounds, medians count (default 7)")
    _add(
        kinds, "schedules", benchmark_schedules, "how long the papers' own schedules take, from what `models` measured",
        "--json results/benchmark.json",
    )  # fmt: skip
    verb = _add(
        kinds, "all", benchmark_all, "all of them, one after the other, as they are without options",
        "--data fracatlas --json results/benchmark.json",
    )  # fmt: skip
    _data(verb)
    verb.set_defaults(kinds=kinds.choices)


def _add(kinds, name, run, words, example=""):
    verb = verbs.add(kinds, name, run, words, f"keras-fracture benchmark {name} {example}".rstrip())
    verb.add_argument(
        "--json",
        metavar="FILE",
        help="also write numbers and conditions here, beside those of other benchmarks",
    )
    return verb


def _data(verb):
    verb.add_argument("--data", default="phantom", metavar="NAME", help="data set (default: phantom)")
    verbs.data_dir(verb)


def benchmark_all(options):
    """`benchmark all`."""
    for name in ("models", "profile", "data", "serving", "server", "startup", "schedules"):
        one = options.kinds[name].parse_args([])  # with its own defaults
        shared = {key: value for key, value in vars(options).items() if key in ("data", "data_dir", "json")}
        vars(one).update(shared)
        if name != "schedules" or options.json:  # which reads what `models` wrote
            one.command(one)


def benchmark_models(options):
    """`benchmark models`."""
    verbs.import_tensorflow()
    from keras_fracture.benchmarks import models

    sizes = options.batch_size, options.image_size, options.steps
    models.measure(options.models or models.DEFAULT, *sizes, options.precision, out=options.json)


def benchmark_profile(options):
    """`benchmark profile`."""
    verbs.import_tensorflow()
    from keras_fracture.benchmarks import models, profile

    _finish(options, "profile", profile.measure_profile(options.models or models.DEFAULT, options.steps))


def benchmark_data(options):
    """`benchmark data`."""
    verbs.import_tensorflow()
    from keras_fracture.benchmarks import data

    _finish(options, "data", data.measure_data(options.data, options.count, options.data_dir), data.GOALS)


def benchmark_serving(options):
    """`benchmark serving`."""
    verbs.import_tensorflow()
    from keras_fracture.benchmarks.serving import measure_serving

    _finish(options, "serving", measure_serving(options.data, options.count, options.model, options.data_dir))


def benchmark_server(options):
    """`benchmark server`."""
    verbs.import_tensorflow()
    from keras_fracture.benchmarks.load import measure_server

    _finish(options, "server", measure_server(options.requests, options.clients, options.model))


def benchmark_startup(options):
    """`benchmark startup`."""
    from keras_fracture.benchmarks import startup

    _finish(options, "startup", startup.measure_startup(options.repeats), startup.GOALS)


def benchmark_schedules(options):
    """`benchmark schedules`."""
    verbs.import_tensorflow()
    from keras_fracture.benchmarks.schedules import measure_schedules
    from keras_fracture.errors import BenchmarkError

    if not options.json:
        raise BenchmarkError(
            "--json must name the file that `benchmark models --json` wrote. Received: nothing"
        )
    measure_schedules(options.json)


def _finish(options, section, found, goals=None):
    """Prints a line a number, and its goal where it has one; records them all if asked for."""
    goals = goals or {}
    for name, number in found.items():
        shown = "none" if number is None else f"{number:.4g}"
        print(f"{name:<62}{shown:>10}" + (f"   goal: {goals[name]}" if name in goals else ""))
    if options.json:
        verbs.import_tensorflow()
        from keras_fracture.experiment.runs import provenance
        from keras_fracture.report.benchmarks import record

        record(options.json, section, {**provenance(), "numbers": found, "goals": goals})
