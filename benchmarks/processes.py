"""Modules that are measured in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.errors import BenchmarkError

CHECKOUT = Path(__file__).resolve().parents[1]


def numbers_of(module, *arguments, variables=None):
    """Runs a module as a program, without GPUs, and returns the numbers it prints.

    Args:
        module: Its full name.
        *arguments: Of the program, turned into text.
        variables: Of its environment, beside this process's; a dict, or None.

    Returns:
        A tuple of floats.

    Raises:
        BenchmarkError: The process failed.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "CUDA_VISIBLE_DEVICES": "-1"} | (variables or {})
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if process.returncode:
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        program = f"{module.rpartition('.')[2]} {' '.join(map(str, arguments))}"[:80]
        raise BenchmarkError(
            f"{program} cannot be measured. Received: exit code {process.returncode}, {last}"
        )
    return tuple(map(float, process.stdout.split()))


def print_peak():
    """Prints the most memory in MiB that this process ever held; nothing where there is no /proc/self/status."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not getrusage's ru_maxrss, which counts the parent of before exec.
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        print(int(peak.split()[1]) / 1024)
