"""Runs the command line as processes that are killed or find the disk full, and looks at what they leave."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

VICTIM = Path(__file__).with_name("victim.py")
TEMPORARY = re.compile(r"\.\d+-.|.*\.lock|incomplete\.|variables_temp")
COMMANDS = {
    "ibrahim_gan": (),
    "garcia_inception": (),
    "lisbon_resnet": ("--depth", "18"),
    "gupta_unit": (),
    "bai_dcgan": (),
    "xray_features": ("--data", "phantom", "--epochs", "2"),
}


class Place:
    """A folder that holds a cache and one run."""

    def __init__(self, folder, paper, *words):
        self.cache, self.run = Path(folder) / "cache", Path(folder) / "run"
        self.words = ["reproduce", paper, *(words or ("--profile", "smoke", *COMMANDS[paper]))]

    def start(self, what="", moment="", resume=True):
        """Starts or resumes the run; returns the process, which says its moments on standard error."""
        words = [*self.words, "--out", str(self.run), *(["--resume"] if resume else [])]
        return subprocess.Popen(
            [sys.executable, str(VICTIM), f"{self.cache}:{self.run}", f"{what}={moment}", *words],
            env=os.environ | {"KERAS_FRACTURE_CACHE": str(self.cache), "TQDM_DISABLE": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, what="", moment="", resume=True):
        """Runs to the end, whatever that is; returns exit status, moments, and what else was said."""
        process = self.start(what, moment, resume)
        _, said = process.communicate(timeout=1200)
        return process.returncode, *parted(said)

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
        found = [path for folder in (self.cache, self.run) for path in folder.rglob("*")]
        return sorted(str(path) for path in found if TEMPORARY.match(path.name))

    def files(self):
        """Names of all files of the run folder."""
        return sorted(path.relative_to(self.run).as_posix() for path in self.run.rglob("*") if path.is_file())

    def metrics(self):
        """`metrics.json` without wall times."""
        return settled(json.loads((self.run / "metrics.json").read_text(encoding="utf-8")))


def parted(said):
    """Moments, and all other lines but TensorFlow's."""
    lines = said.splitlines()
    moments = [line.removeprefix("moment: ") for line in lines if line.startswith("moment: ")]
    return moments, [line for line in lines if line.startswith(("keras-fracture:", "status:", "Traceback"))]


def settled(value):
    """Without what depends on the clock."""
    if isinstance(value, dict):
        return {name: settled(one) for name, one in value.items() if name not in ("minutes", "seconds")}
    return [settled(one) for one in value] if isinstance(value, list) else value
