"""Runs the command line as processes that are killed or find the disk full, and looks at what they leave."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

VICTIM = Path(__file__).with_name("victim.py")
CHECKOUT = Path(__file__).resolve().parents[2]
TEMPORARY = re.compile(r"\.\d+-.|.*\.lock|incomplete\.|variables_temp")
# Arguments of smoke runs, beside the profile.
ARGUMENTS = {
    "ibrahim_gan": (),
    "garcia_inception": (),
    "lisbon_resnet": ("--depth", "18"),
    "gupta_unit": (),
    "bai_dcgan": (),
    "xray_features": ("--set", "epochs=2"),
}


class FaultyRun:
    """A run of a paper, or of `benchmarks.xray_features`, in processes that can be disturbed, with a cache of its own.

    Args:
        folder: Holds the cache and the run folder.
        paper: Key, or "xray_features".
        *arguments: Of `reproduce`; default is the smoke profile with those of `ARGUMENTS`.
    """

    def __init__(self, folder, paper, *arguments):
        self.cache, self.folder = Path(folder) / "cache", Path(folder) / "run"
        self.paper, self.arguments = paper, arguments or ("--profile", "smoke", *ARGUMENTS[paper])

    def start(self, fault="", moment="", resume=True):
        """Starts or resumes the run; returns the process, which writes its moments to standard error."""
        program = ["keras_fracture.cli", "reproduce", self.paper]
        if self.paper == "xray_features":
            program = ["benchmarks.xray_features"]
        arguments = [*self.arguments, "--out", str(self.folder), *(["--resume"] if resume else [])]
        environment = {
            "PYTHONPATH": str(CHECKOUT),
            "TQDM_DISABLE": "1",
            "KERAS_FRACTURE_CACHE": str(self.cache),
        }
        return subprocess.Popen(
            [
                sys.executable,
                str(VICTIM),
                f"{self.cache}:{self.folder}",
                f"{fault}={moment}",
                *program,
                *arguments,
            ],
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, fault="", moment="", resume=True):
        """Runs to the end, whatever that is; returns exit status, moments, and messages."""
        process = self.start(fault, moment, resume)
        _, errors = process.communicate(timeout=1200)
        return process.returncode, *moments_and_messages(errors)

    def kill_after(self, seconds):
        """Kills the process so many seconds after it began to write; returns its exit status."""
        process = self.start()
        for line in process.stderr:
            if line.startswith("moment: "):
                break
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=60)
        return process.returncode

    def leftovers(self):
        """Temporary files and locks in cache and run folder."""
        paths = [path for folder in (self.cache, self.folder) for path in folder.rglob("*")]
        return sorted(str(path) for path in paths if TEMPORARY.match(path.name))


def moments_and_messages(errors):
    """Of standard error: the moments, and all other lines but TensorFlow's."""
    lines = errors.splitlines()
    moments = [line.removeprefix("moment: ") for line in lines if line.startswith("moment: ")]
    messages = ("keras-fracture:", "xray_features:", "status:", "Traceback")
    return moments, [line for line in lines if line.startswith(messages)]
