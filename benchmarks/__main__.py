"""The command line of the benchmarks: `python -m benchmarks NAME`. Heavy imports happen inside the commands."""

import sys

from keras_fracture import cli
from keras_fracture.cli import verbs

PROGRAM = "python -m benchmarks"
NAMES = (
    "models", "profile", "jobs", "data", "audit", "growth", "phantom", "own", "serving", "inference", "server",
    "startup", "schedules",
)  # fmt: skip


def main(arguments=None):
    """Runs the command line; returns the exit code, see `keras_fracture.cli.run`."""
    return cli.run(build_parser(), arguments)


def build_parser():
    """The parser of all benchmarks."""
    parser = verbs.parser(
        PROGRAM,
        "Measure training, the input pipeline or serving on this machine, from a checkout.",
        f"{PROGRAM} models --models resnet18 --json benchmark.json",
    )
    benchmarks = verbs.commands(parser, title="benchmarks", metavar="NAME")
    _add_training(benchmarks)
    _add_images_and_serving(benchmarks)
    _add_cluster(benchmarks)
    _add(
        benchmarks, "schedules", run_schedules, "how long the papers' own schedules take, from what `models` measured",
        "--json results/benchmark.json",
    )  # fmt: skip
    benchmark = verbs.add(
        benchmarks, "baselines", run_baselines,
        "what can be told of all data sets without a network, and the recorded classifiers beside it",
        f"{PROGRAM} baselines --results results",
    )  # fmt: skip
    benchmark.add_argument(
        "--results", default="results", metavar="DIR", help="read and written (default: results)"
    )
    benchmark.add_argument(
        "--models", default="saved_models", metavar="DIR", help="shipped SavedModels (default: saved_models)"
    )
    benchmark.add_argument("--seeds", type=int, default=3, help="how many times each is fitted (default 3)")
    verbs.data_dir(benchmark)
    benchmark = _add(
        benchmarks, "runtimes", run_runtimes,
        "how far ONNX Runtime, LiteRT and OpenVINO are from the shipped SavedModels (needs the extra `runtimes`)",
        "--data fracatlas --json results/benchmark.json",
    )  # fmt: skip
    _add_data(benchmark)
    benchmark.add_argument("--count", type=int, default=100, help="images (default 100)")
    benchmark.add_argument(
        "--models", default="saved_models", metavar="DIR", help="SavedModels (default: saved_models)"
    )
    benchmark = _add(
        benchmarks, "all", run_all, "all of them, one after the other, as they are without options",
        "--data fracatlas --json results/benchmark.json",
    )  # fmt: skip
    _add_data(benchmark)
    benchmark.set_defaults(parsers=benchmarks.choices)
    return parser


def _add_training(benchmarks):
    benchmark = _add(
        benchmarks, "models", run_models, "time training steps beside PyTorch, on the CPU",
        "--models resnet18 drn_d_22 --json benchmark.json",
    )  # fmt: skip
    benchmark.add_argument(
        "--models", nargs="+", metavar="NAME", help="architectures (default: one or more of each family)"
    )
    benchmark.add_argument("--batch-size", type=int, help="images a step (default: each model's own)")
    benchmark.add_argument("--image-size", type=int, help="side in pixels (default: each model's own)")
    benchmark.add_argument(
        "--steps", type=int, default=20, help="timed steps, their median counts (default 20)"
    )
    _add_precision(benchmark)
    benchmark = _add(
        benchmarks, "profile", run_profile, "which operations our training steps spend their time in",
        "--models compact_cnn dcgan",
    )  # fmt: skip
    benchmark.add_argument("--models", nargs="+", metavar="NAME", help="architectures (default: as `models`)")
    benchmark.add_argument("--steps", type=int, default=3, help="traced steps (default 3)")
    _add_precision(benchmark)

    benchmark = _add(
        benchmarks, "jobs", run_jobs, "time whole epochs of trainings, as recipes run them, beside plain PyTorch",
        "--repeats 1 --count 512",
    )  # fmt: skip
    benchmark.add_argument("--count", type=int, help="training images (default: all)")
    benchmark.add_argument("--repeats", type=int, default=2, help="turns, medians count (default 2)")

    benchmark = _add(
        benchmarks, "gpu", run_gpu, "time training steps on one GPU, in each precision, with and without XLA",
        "--json gpu.json",
    )  # fmt: skip
    benchmark.add_argument("--models", nargs="+", metavar="NAME", help="architectures (default: as `models`)")
    benchmark.add_argument(
        "--steps", type=int, default=20, help="timed steps, their median counts (default 20)"
    )
    benchmark.add_argument(
        "--device", choices=("GPU", "CPU"), default="GPU", help="CPU only shows that all runs (default GPU)"
    )


def _add_precision(benchmark):
    benchmark.add_argument(
        "--precision",
        nargs="+",
        metavar="P",
        help="float32, bfloat16 (default: float32, and bfloat16 on CPUs with AVX512_BF16 or AMX)",
    )


def _add_images_and_serving(benchmarks):
    benchmark = _add(benchmarks, "data", run_data, "time the input pipeline", "--data fracatlas")
    _add_data(benchmark)
    benchmark.add_argument("--count", type=int, default=3000, help="images (default 3000)")
    _add(benchmarks, "audit", run_audit, "time the search for near duplicates among many images")
    benchmark = _add(
        benchmarks, "growth", run_growth, "how time and memory of training and audit grow with the number of images"
    )  # fmt: skip
    benchmark.add_argument(
        "--counts",
        type=int,
        nargs="+",
        metavar="N",
        help="images that are trained on (default 1000 10000 100000)",
    )
    benchmark.add_argument(
        "--audited",
        type=int,
        nargs="+",
        metavar="N",
        help="images that are audited (default 1000 3000 10000)",
    )
    benchmark = _add(
        benchmarks, "phantom", run_phantom, "how hard the embedded data set is, and how long it takes to draw"
    )  # fmt: skip
    benchmark.add_argument("--epochs", type=int, default=40, help="of the ResNet-18 (default 40)")
    _add(
        benchmarks, "own", run_own, "whether own X-rays in every layout give the numbers of the embedded data set"
    )  # fmt: skip
    benchmark = _add(
        benchmarks, "serving", run_serving, "compare an exported classifier's answers to files with training's",
        "--data fracatlas --count 500",
    )  # fmt: skip
    _add_data(benchmark)
    benchmark.add_argument("--count", type=int, default=500, help="files (default 500)")
    benchmark.add_argument(
        "--model", metavar="DIR", help="SavedModel folder (default: a small untrained ResNet-18)"
    )
    benchmark = _add(
        benchmarks, "reduced", run_reduced, "what decoding JPEG files with fewer pixels brings, and costs in AUC",
        "--json results/benchmark.json",
    )  # fmt: skip
    verbs.data_dir(benchmark)
    benchmark = _add(
        benchmarks, "inference", run_inference, "time an exported classifier on JPEG files beside PyTorch",
        "--data fracatlas",
    )  # fmt: skip
    _add_data(benchmark)
    benchmark.add_argument(
        "--rounds", type=int, default=8, help="of four timed calls, medians count (default 8)"
    )
    benchmark = _add(
        benchmarks, "server", run_server, "put requests to `serve`: lost ones, times, memory, overhead",
        "--requests 2000 --clients 8",
    )  # fmt: skip
    benchmark.add_argument(
        "--requests", type=int, default=2000, help="over REST, one image each (default 2000)"
    )
    benchmark.add_argument("--clients", type=int, default=8, help="asking at once (default 8)")
    benchmark.add_argument(
        "--model", metavar="DIR", help="SavedModel folder (default: a small untrained compact_cnn)"
    )
    benchmark = _add(
        benchmarks, "startup", run_startup, "time imports and commands that need no TensorFlow, in fresh processes"
    )  # fmt: skip
    benchmark.add_argument("--repeats", type=int, default=7, help="rounds, medians count (default 7)")


def _add_cluster(benchmarks):
    benchmark = _add(
        benchmarks, "cluster", run_cluster,
        "what Dask workers on this machine bring and cost, and how an audit grows (needs the extra `cluster`)",
        "--files 100000 --json results/benchmark.json",
    )  # fmt: skip
    benchmark.add_argument("--images", type=int, default=600, help="decoded and hashed (default 600)")
    benchmark.add_argument("--tasks", type=int, default=300, help="that sleep (default 300)")
    benchmark.add_argument("--files", type=int, default=10_000, help="of the largest audit (default 10000)")


def _add(benchmarks, name, command, help_, example=""):
    benchmark = verbs.add(benchmarks, name, command, help_, f"{PROGRAM} {name} {example}".rstrip())
    benchmark.add_argument(
        "--json",
        metavar="FILE",
        help="also write numbers and conditions here, beside those of other benchmarks",
    )
    return benchmark


def _add_data(benchmark):
    benchmark.add_argument("--data", default="phantom", metavar="NAME", help="data set (default: phantom)")
    verbs.data_dir(benchmark)


def run_all(options):
    """`all`."""
    shared = {key: value for key, value in vars(options).items() if key in ("data", "data_dir", "json")}
    for name in NAMES:
        defaults = options.parsers[name].parse_args([])
        vars(defaults).update(shared)
        if name != "schedules" or options.json:  # which reads what `models` wrote
            defaults.command(defaults)


def run_models(options):
    """`models`."""
    verbs.import_tensorflow()
    from benchmarks import models

    sizes = options.batch_size, options.image_size, options.steps
    models.measure(options.models or models.DEFAULT, *sizes, options.precision, out=options.json)


def run_gpu(options):
    """`gpu`."""
    verbs.import_tensorflow()
    from benchmarks import gpu

    gpu.measure_gpu(options.models or gpu.DEFAULT, options.steps, options.device, out=options.json)


def run_profile(options):
    """`profile`."""
    verbs.import_tensorflow()
    from benchmarks import models, operations

    names, precisions = options.models or models.DEFAULT, options.precision
    _report(options, "profile", operations.measure_profile(names, options.steps, precisions=precisions))


def run_jobs(options):
    """`jobs`."""
    verbs.import_tensorflow()
    from benchmarks import jobs

    numbers = jobs.measure_jobs(count=options.count, repeats=options.repeats)
    _report(options, "jobs", numbers, rows="training, images/s")


def run_growth(options):
    """`growth`."""
    verbs.import_tensorflow()
    from benchmarks import growth

    counts = options.counts or growth.COUNTS, options.audited or growth.AUDITED
    _report(options, "growth", growth.measure_growth(*counts), rows="measured")


def run_inference(options):
    """`inference`."""
    verbs.import_tensorflow()
    from benchmarks.inference import measure_inference

    numbers = measure_inference(options.data, options.rounds, data_dir=options.data_dir)
    _report(options, "inference", numbers, rows="measured")


def run_data(options):
    """`data`."""
    verbs.import_tensorflow()
    from benchmarks import data

    _report(options, "data", data.measure_data(options.data, options.count, options.data_dir), data.GOALS)


def run_audit(options):
    """`audit`."""
    from benchmarks import audit

    _report(options, "audit", audit.measure_audit(), audit.GOALS)


def run_cluster(options):
    """`cluster`."""
    from benchmarks import cluster

    numbers = cluster.measure_cluster(options.images, options.tasks, options.files)
    _report(options, "cluster", numbers, cluster.GOALS)


def run_phantom(options):
    """`phantom`."""
    verbs.import_tensorflow()
    from benchmarks import phantom

    _report(options, "phantom", phantom.measure_phantom(options.epochs), phantom.GOALS)


def run_own(options):
    """`own`."""
    verbs.import_tensorflow()
    from benchmarks import own_xrays

    _report(options, "own", own_xrays.measure_own(), own_xrays.GOALS)


def run_serving(options):
    """`serving`."""
    verbs.import_tensorflow()
    from benchmarks.serving import measure_serving

    _report(options, "serving", measure_serving(options.data, options.count, options.model, options.data_dir))


def run_reduced(options):
    """`reduced`."""
    verbs.import_tensorflow()
    from benchmarks.reduced import measure_reduced

    _report(options, "reduced", measure_reduced(data_dir=options.data_dir))


def run_server(options):
    """`server`."""
    verbs.import_tensorflow()
    from benchmarks.server import measure_server

    _report(options, "server", measure_server(options.requests, options.clients, options.model))


def run_runtimes(options):
    """`runtimes`."""
    verbs.import_tensorflow()
    from benchmarks.runtimes import measure_runtimes

    given = options.models, options.data, options.count, options.data_dir
    _report(options, "runtimes", measure_runtimes(*given))


def run_startup(options):
    """`startup`."""
    from benchmarks import startup

    _report(options, "startup", startup.measure_startup(options.repeats), startup.GOALS)


def run_schedules(options):
    """`schedules`."""
    verbs.import_tensorflow()
    from benchmarks.errors import BenchmarkError
    from benchmarks.schedules import measure_schedules

    if not options.json:
        raise BenchmarkError("--json must name the file that `models --json` wrote. Received: nothing")
    measure_schedules(options.json)


def run_baselines(options):
    """`baselines`."""
    verbs.import_tensorflow()
    from benchmarks import baselines
    from keras_fracture.report.baselines import verdict

    print(f"wrote {baselines.measure(options.results, seeds=options.seeds, data_dir=options.data_dir)}")
    for key, run, how in baselines.fill(options.results, options.models, options.data_dir):
        print(f"{key}, {run['model']}, {run['variant']}, {run['data']}, {how}: {verdict(run['baselines'])}")
    print("go on with: keras-fracture tables")


def _report(options, section, numbers, goals=None, **content):
    """Prints a line a number, and its goal where it has one; records them all, and `content`, if asked for."""
    goals = goals or {}
    for name, number in numbers.items():
        text = "none" if number is None else f"{number:.4g}"
        print(f"{name:<62}{text:>10}" + (f"   goal: {goals[name]}" if name in goals else ""))
    if options.json:
        verbs.import_tensorflow()
        from benchmarks.conditions import conditions
        from keras_fracture.report.benchmarks import record

        record(options.json, section, {**conditions(), "numbers": numbers, "goals": goals, **content})


if __name__ == "__main__":
    sys.exit(main())
