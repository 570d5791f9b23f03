"""How long the papers' own schedules take: `python -m benchmarks schedules`, arithmetic on measured steps."""

import dataclasses
import math

from benchmarks import counting, twins
from benchmarks.conditions import conditions
from benchmarks.errors import BenchmarkError
from keras_fracture.progress import Bar
from keras_fracture.report.benchmarks import record, recorded


@dataclasses.dataclass(frozen=True)
class Device:
    """An accelerator, by its maker's data sheet.

    Attributes:
        name: As sold.
        operations: Dense floating-point operations a second, in TensorFloat-32.
        bandwidth: Bytes a second from and to its memory.
        link: Bytes a second to other devices, one way.
        launch: Seconds to start a kernel, so the least that any one takes.
    """

    name: str = "NVIDIA H100 SXM"
    operations: float = 495e12
    bandwidth: float = 3.35e12
    link: float = 450e9
    launch: float = 5e-6

    def seconds(self, work, devices=1):
        """The least time of a training step, whose batch is divided among `devices`.

        A step takes at least as long as its arithmetic, as its traffic with memory and as its kernels take to
        start; summing gradients over devices sends each weight there and back nearly twice (ring all-reduce).

        Args:
            work: As `counting.work` has it, and `weights`, how many there are.
            devices: How many there are.

        Returns:
            Seconds, and which of "arithmetic", "memory" or "launches" they are.
        """
        limits = {
            "arithmetic": work["operations"] / devices / self.operations,
            "memory": work["bytes"] / devices / self.bandwidth,
            "launches": work["kernels"] * self.launch,
        }
        limit = max(limits, key=limits.get)
        summing = 2 * (devices - 1) / devices * 4 * work["weights"] / self.link
        return limits[limit] + summing, limit


@dataclasses.dataclass(frozen=True)
class Training:
    """What a paper trains, by its own numbers.

    Attributes:
        paper: Key.
        name: Network, one of `twins.names()`.
        batch_size: Images a step.
        image_size: Side in pixels.
        steps: Of one training.
        trainings: How many there are for the paper's own results, on one split.
        like: The benchmarked network whose speed on this machine stands for it.
    """

    paper: str
    name: str
    batch_size: int
    image_size: int
    steps: int
    trainings: int
    like: str


def _epochs(images, batch_size, epochs):
    return images // batch_size * epochs


TRAININGS = (
    Training("bai_dcgan", "dcgan", 32, 64, _epochs(4480, 32, 900), 1, "dcgan"),
    Training("ibrahim_gan", "dense_gan", 32, 64, _epochs(4480, 32, 100), 10, "dense_gan"),
    # Five seeds of two arms with the Kaggle set's training images, and of two with 21,000 synthetic images as well.
    Training("ibrahim_gan", "compact_cnn", 32, 64, _epochs(8863, 32, 20), 10, "compact_cnn"),
    Training("ibrahim_gan", "compact_cnn", 32, 64, _epochs(8863 + 21_000, 32, 20), 10, "compact_cnn"),
    Training("garcia_inception", "inception_net", 32, 224, _epochs(15954, 32, 30), 1, "inception_net"),
    *(
        Training("lisbon_resnet", f"resnet{depth}", 32, 224, _epochs(2858, 32, 10), 1, like)
        for depth, like in ((18, "resnet18"), (34, "resnet34"), (50, "resnet50"), (101, "resnet50"), (152, "resnet50"))
    ),
    Training("gupta_unit", "unit", 1, 128, 100_000, 2, "unit"),
    # The seven rows of Table 2, each on as many images as its largest training set, the femur's.
    Training("gupta_unit", "drn_d_22", 32, 224, _epochs(4590, 32, 30), 7, "drn_d_22"),
)  # fmt: skip


def measure_schedules(path, device=None, devices=8, show=print):
    """Extends the measured steps in `path` to the papers' own schedules.

    Hours on this machine are the training's operations over those a second that the benchmarked network reaches
    here, in each precision it was measured in. Those on an accelerator are a lower bound, see `Device.seconds`: a
    third to half of it is usual.

    Args:
        path: JSON file whose section "models" `python -m benchmarks models` wrote; its section "schedules" gets what is
            returned.
        device: A `Device`; default is `Device()`.
        devices: How many of them share a batch in the last column.
        show: Function called with each line of the table.

    Returns:
        A dict: `device`, `devices`, `runs`, a dict for each of `TRAININGS` with what a step asks for (`operations`,
        `bytes`, `kernels`, `weights`), `limit`, what bounds it on one device, and hours: `here` (a dict of
        precision to hours), `one`, `many` (None where the batch cannot be divided); and where they come from
        (`command`, `date`, ...).

    Raises:
        BenchmarkError: A network has not been measured.
    """
    device = device or Device()
    measured = {}
    for run in recorded(path).get("models", {}).get("runs", ()):
        rate = run["work"]["operations"] * run["ours"] / run["batch_size"]
        measured.setdefault(run["model"], {})[run["precision"]] = rate
    missing = sorted({training.like for training in TRAININGS} - set(measured))
    if missing:
        raise BenchmarkError(
            f"Measure them first: python -m benchmarks models --json {path}. Received: no {', '.join(missing)}"
        )
    content = {**conditions(), "device": dataclasses.asdict(device), "devices": devices, "runs": []}
    for training in Bar(TRAININGS, title="counting operations", unit=" networks"):
        work = work_of(training)
        hours = training.steps * training.trainings / 3600
        one, limit = device.seconds(work)
        divides = training.batch_size % devices == 0
        content["runs"].append(
            dataclasses.asdict(training)
            | work
            | {
                "limit": limit,
                "here": {
                    precision: hours * work["operations"] / rate
                    for precision, rate in measured[training.like].items()
                },
                "one": hours * one,
                "many": hours * device.seconds(work, devices)[0] if divides else None,
            }
        )
    for run in content["runs"]:
        here = ", ".join(f"{hours:>6,.1f} h in {precision}" for precision, hours in run["here"].items())
        many = f"{run['many']:.2f}" if run["many"] else "none"
        show(
            f"{run['paper']:<18}{run['name']:<15}{here} here{run['one']:>8.2f} h on one, {many} h on "
            f"{devices} {device.name}"
        )
    record(path, "schedules", content)
    return content


def work_of(training):
    """`counting.work` of a step at the training's own batch size, and `weights`.

    Counted at two small batches: all but the traffic of the weights grows with the batch.
    """
    nets = twins.networks(training.name, training.image_size)
    plan = twins.plan_twins(training.name, nets, training.image_size)
    small = (2, 4) if training.batch_size > 1 else (1, 1)
    counted = []
    for batch_size in small:
        copies = twins.build(plan)
        step = twins.theirs(training.name, copies, plan["weights"], batch_size, training.image_size)
        counted.append(counting.work(step))
    first, second = counted
    more = (training.batch_size - small[0]) / max(small[1] - small[0], 1)
    work = {
        name: math.ceil(first[name] + more * (second[name] - first[name]))
        for name in ("operations", "bytes", "kernels")
    }
    return work | {"weights": twins.parameters(nets)}
