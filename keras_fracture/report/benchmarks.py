"""The numbers of benchmarks in `results/benchmark.json`, and the tables of BENCHMARKS.md from them."""

import json
from pathlib import Path

from scipy.stats import gmean

from keras_fracture import files
from keras_fracture.errors import OutputError
from keras_fracture.report.markdown import counted, markdown, plain


def record(path, section, content):
    """Writes the numbers of one benchmark into a JSON file that holds several; the others stay.

    Args:
        path: Such as `results/benchmark.json`; made if it is not there.
        section: Name of the benchmark, such as "models".
        content: What JSON can hold.

    Raises:
        OutputError: The file is there and holds no benchmarks, or cannot be written.
    """
    path = Path(path)
    files.folder(path.parent)
    files.write_text(path, json.dumps(recorded(path) | {section: content}, indent=1) + "\n")


def recorded(path):
    """The benchmarks in a JSON file: a dict of section to numbers, empty if there is no such file."""
    if not Path(path).is_file():
        return {}
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} is no file of benchmarks: {error}") from None
    if not isinstance(content, dict) or not all(isinstance(each, dict) for each in content.values()):
        raise OutputError(f"{path} is no file of benchmarks: delete it, or name another")
    return content


def table(path, section):
    """One benchmark as Markdown: a table, the conditions it was measured under, and the command.

    Args:
        path: JSON file, see `record`.
        section: Name of the benchmark.

    Raises:
        OutputError: The file or the section is missing, or not of its form.
    """

    def write(content):
        forms = {
            "models": _models, "profile": _profile, "runtimes": _runtimes, "schedules": _schedules,
            **dict.fromkeys(("jobs", "inference", "growth"), _crossed_rows),
        }  # fmt: skip
        write_table = forms.get(section, _numbers)
        header, rows, conditions = write_table(content)
        return f"{markdown(header, rows)}\n{conditions}`{content['command']}`, {content['date']}\n"

    return _section_as_text(path, section, write)


def ratios(path):
    """One line of the training steps' ratios, ours over PyTorch's; raises what `table` raises."""

    def write(content):
        by_model = best_ratios(content["runs"])
        if not by_model:
            return "no ratios: the machine was busy beside all runs.\n"
        best_first = sorted(by_model.items(), key=lambda pair: -pair[1])
        words = ", ".join(f"{name} {ratio:.2f}" for name, ratio in best_first)
        return f"{words}; geometric mean **{gmean(list(by_model.values())):.2f}**.\n"

    return _section_as_text(path, "models", write)


def _section_as_text(path, section, write):
    """What `write` makes of a section of the file; raises `OutputError` where it cannot."""
    content = recorded(path)
    if section not in content:
        raise OutputError(f"{path} holds no benchmark {section}. Received: {', '.join(content) or 'nothing'}")
    try:
        return write(plain(content[section]))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise OutputError(f"The benchmark {section} in {path} is not of its form: {error!r}") from None


def _models(content):
    header = [
        "model", "batch, pixels", "trainable parameters (classifiers: 2 classes)", "precision",
        "ours: images/s", "PyTorch: images/s", "ours / PyTorch", "of peak: ours, PyTorch", "peak MiB: ours, PyTorch",
    ]  # fmt: skip
    rows = [
        [
            run["model"], f"{run['batch_size']}, {run['image_size']}", f"{run['parameters']:,}", run["precision"],
            f"{run['ours']:,.1f}", f"{run['pytorch']:,.1f}",
            f"{run['ratio']:.2f}" if run["fair"] else "machine was busy",
            ", ".join(f"{share_of_peak(run, content['peak'], side):.0%}" for side in ("ours", "pytorch")),
            ", ".join(_mebibytes(run["memory"][side]) for side in ("ours", "pytorch")),
        ]
        for run in content["runs"]
    ]  # fmt: skip
    cpu, versions = content["cpu"], content["versions"]
    libraries = ", ".join(f"{name} {versions[name]}" for name in ("tensorflow", "keras", "torch"))
    ratios = best_ratios(content["runs"])
    busy = max(run["others"] or 0 for run in content["runs"])
    left, all_runs = sum(not run["fair"] for run in content["runs"]), len(content["runs"])
    busy_runs = f"Left out, as the machine was busy: {left} of {all_runs} runs. " if left else ""
    mean = (
        f"Geometric mean of {counted(len(ratios), 'ratio')}, each side at its faster precision: "
        f"**{gmean(list(ratios.values())):.2f}**, smallest {min(ratios.values()):.2f}. "
        if ratios
        else ""
    )
    conditions = (
        f"{mean}{busy_runs}"
        f"Medians of {content['steps']} steps, both libraries in turn in one process; {cpu['name']}, {cpu['cores']} "
        f"cores ({', '.join(cpu['flags']) or 'flags unknown'}); {libraries}. Peak: {content['peak'] / 1e9:,.0f} "
        f"billion operations a second, a float32 matrix product on all cores. Memory: of a process that does nothing "
        f"else, beyond the imported library. Other programs used at most {busy:.0%} of the CPU meanwhile.\n"
    )
    return header, rows, conditions


def best_ratios(runs):
    """Model name to images a second of ours over PyTorch's, each at the precision it is fastest in.

    Runs beside which the machine was busy do not count.
    """
    runs = [run for run in runs if run.get("fair", True)]
    names = dict.fromkeys(run["model"] for run in runs)
    best = {
        name: [max(run[side] for run in runs if run["model"] == name) for side in ("ours", "pytorch")]
        for name in names
    }
    return {name: ours / theirs for name, (ours, theirs) in best.items()}


def share_of_peak(run, peak, side="ours"):
    """What share of the operations a second of a matrix product a training step reaches, 0 to 1.

    Args:
        run: One of the runs of `benchmarks.models.measure`.
        peak: Its `peak`.
        side: "ours" or "pytorch".
    """
    return run["work"]["operations"] * run[side] / run["batch_size"] / peak


def _mebibytes(memory):
    return f"{memory['step']:,.0f}" if memory else "unknown"


def _schedules(content):
    device, devices = content["device"], content["devices"]
    precisions = list(dict.fromkeys(name for run in content["runs"] for name in run["here"]))
    header = [
        "paper", "network", "batch, pixels", "steps", "billion operations a step", "GB a step", "kernels a step",
        *(f"this machine, {precision}" for precision in precisions),
        f"1 {device['name']}, at least", f"{devices} of them, at least",
    ]  # fmt: skip
    rows = [
        [
            run["paper"], run["name"], f"{run['batch_size']}, {run['image_size']}",
            f"{run['trainings']} x {run['steps']:,}", f"{run['operations'] / 1e9:,.0f}", f"{run['bytes'] / 1e9:,.2f}",
            f"{run['kernels']:,}", *(_duration(run["here"].get(name)) for name in precisions),
            f"{_duration(run['one'])} ({run['limit']})",
            "cannot part a batch of 1" if run["many"] is None else _duration(run["many"]),
        ]
        for run in content["runs"]
    ]  # fmt: skip
    conditions = (
        f"{device['name']}: {device['operations'] / 1e12:,.0f} trillion operations a second in TensorFloat-32, "
        f"{device['bandwidth'] / 1e12:.2f} TB/s of memory, {device['link'] / 1e9:.0f} GB/s between devices, "
        f"{device['launch'] * 1e6:.0f} microseconds to start a kernel. An estimate, not a measurement.\n"
    )
    return header, rows, conditions


def _duration(hours):
    if hours is None:
        return ""
    if hours < 1:
        return f"{60 * hours:.1f} min" if hours > 1 / 60 else f"{3600 * hours:.1f} s"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def _profile(content):
    networks = {}
    for name, milliseconds in content["numbers"].items():
        network, _, what = name.partition(": ")
        networks.setdefault(network, {})[what] = milliseconds
    rows = [
        [
            network,
            f"{spent.pop('step'):,.1f}",
            ", ".join(f"{what} {number:,.1f}" for what, number in spent.items()),
        ]
        for network, spent in networks.items()
    ]
    return ["model", "step, ms", "operations that take longest, ms a step"], rows, ""


def _runtimes(content):
    header, rows = _crossed(content["numbers"], "{:.1e}".format)
    return ["model", *header], rows, ""


def _crossed_rows(content):
    header, rows = _crossed(content["numbers"], _short)
    return [content["rows"], *header], rows, ""


def _short(number):
    if number is None:
        return "unknown"
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def _amount(column):
    """The number that a column's name begins with; names without one lie behind."""
    number = column.split(" ")[0].replace(",", "")
    return int(number) if number.isdecimal() else float("inf")


def _crossed(numbers, short):
    """Numbers named "ROW: COLUMN" as a table; the header is without the rows' names."""
    rows, columns = {}, {}
    for name, number in numbers.items():
        row, _, column = name.partition(": ")
        rows.setdefault(row, {})[column] = columns[column] = short(number)
    columns = sorted(columns, key=_amount)
    return columns, [[row, *(cells.get(column, "") for column in columns)] for row, cells in rows.items()]


def _numbers(content):
    """Of a benchmark that is a list of names and numbers, None where nothing could be measured."""
    goals = content["goals"]
    rows = [
        [name, "none" if number is None else f"{number:,.4g}", goals.get(name, "")]
        for name, number in content["numbers"].items()
    ]
    return ["measured", "number", "goal"], rows, ""
