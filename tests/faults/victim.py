"""A command line as a process that something happens to: `victim.py WATCHED kill|full=MOMENTS MODULE ARGUMENTS`.

WATCHED are folders, separated by colons. Every time Python is about to change a file below one is a moment, written
as `EVENT PATH COUNT` to standard error; PATH lacks the folder and what is left to chance, COUNT says how often that
happened to it before. MOMENTS are separated by bars: `main` of MODULE is called once for each of them, and at each
the process is killed (`kill`), or the disk is full from then on (`full`). The phantom data set is small.
"""

import collections
import errno
import importlib
import os
import re
import signal
import sys

_CHANGES = {"open": 0, "os.mkdir": 0, "os.rename": 1, "os.remove": 0, "shutil.rmtree": 0}
# What differs from process to process: temporary names, and keys of prepared images.
_CHANCE = re.compile(r"\.\d+-[0-9a-f]{8}-|incomplete\.\w+?[._]|(?<=phantom)-[0-9a-f]{16}")
_WRITES = os.O_WRONLY | os.O_RDWR


class Watch:
    """Names all moments, and lets a fault happen from the chosen one on: "kill" or "full".

    Attributes:
        chosen: The moment, or None.
    """

    def __init__(self, folders, fault):
        self.folders, self.fault, self.chosen = folders, fault, None
        self.seen, self.happened = collections.Counter(), False
        sys.addaudithook(self.hook)

    def choose(self, moment):
        """Starts anew."""
        self.chosen, self.happened = moment, False
        self.seen.clear()

    def hook(self, event, arguments):
        """See `sys.addaudithook`."""
        if event not in _CHANGES or (event == "open" and not arguments[2] & _WRITES):
            return
        path = arguments[_CHANGES[event]]
        path = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        inside = [folder for folder in self.folders if path.startswith(folder + os.sep)]
        if not inside:
            return
        name = _CHANCE.sub("", path[len(inside[0]) + 1 :])
        moment = f"{event} {name} {self.seen[event, name]}"
        self.seen[event, name] += 1
        os.write(2, f"moment: {moment}\n".encode())
        self.happened |= moment == self.chosen
        if self.happened and self.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.happened and event not in ("os.remove", "shutil.rmtree"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


if __name__ == "__main__":
    folders, disturbance, module, *arguments = sys.argv[1:]
    fault, _, moments = disturbance.partition("=")
    watch = Watch(folders.split(":"), fault)
    program = importlib.import_module(module)
    from keras_fracture.data.datasets.phantom import layout

    layout.SOURCES = 60, 48
    for moment in moments.split("|"):
        watch.choose(moment)
        status = program.main(arguments)
        os.write(2, f"status: {status}\n".encode())
    sys.exit(status)
