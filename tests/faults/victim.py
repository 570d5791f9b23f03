"""The command line as a process that something happens to: `victim.py WATCHED [kill|full]=MOMENT ARGUMENTS`.

WATCHED are folders, parted by colons. Every time Python is about to change a file below one is a moment, written
as `EVENT PATH COUNT` to standard error; PATH lacks the folder and what is left to chance, COUNT says how often that
happened to it before. At MOMENT the process is killed (`kill=`), or it and all further ones find the disk full
(`full=`). The phantom data set is a twelfth of its size.
"""

import collections
import errno
import os
import re
import signal
import sys

_CHANGES = {"open": 0, "os.mkdir": 0, "os.rename": 1, "os.remove": 0, "shutil.rmtree": 0}
# What differs from process to process: temporary names, and keys of prepared pictures.
_CHANCE = re.compile(r"\.\d+-|incomplete\.\w{6}_|(?<=phantom)-[0-9a-f]{16}")
_WRITES = os.O_WRONLY | os.O_RDWR


def watch(folders, what, chosen):
    """Names all moments, and lets `what` happen at the chosen one."""
    seen, full = collections.Counter(), []

    def hook(event, arguments):
        if event not in _CHANGES or (event == "open" and not arguments[2] & _WRITES):
            return
        path = os.fspath(arguments[_CHANGES[event]]) if isinstance(arguments[0], str | os.PathLike) else ""
        path = path.decode() if isinstance(path, bytes) else path
        inside = [folder for folder in folders if path.startswith(folder + os.sep)]
        if not inside:
            return
        name = _CHANCE.sub("", path[len(inside[0]) + 1 :])
        moment = f"{event} {name} {seen[event, name]}"
        seen[event, name] += 1
        os.write(2, f"moment: {moment}\n".encode())
        if moment == chosen and what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if full or (moment == chosen and what == "full"):
            full.append(moment)
            if event != "os.remove" and event != "shutil.rmtree":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    sys.addaudithook(hook)


if __name__ == "__main__":
    watched, happening, *words = sys.argv[1:]
    watch(watched.split(":"), *happening.split("=", 1))
    from keras_fracture import cli
    from keras_fracture.data.datasets.phantom import phantom_dataset_builder

    phantom_dataset_builder.Builder.SOURCES = 60
    sys.exit(cli.main(words))
