"""Runs that are killed, or find the disk full, at many moments, against one that nothing happens to."""

import collections
import random
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.soak.comparison import differences
from keras_fracture.progress import Bar
from tests.faults import faulty

_KILLED = -9
_MOST = 10  # names of differences that are recorded of a run


def kills(options):
    """Kills each paper's run at random moments, half of them of writing and half of the clock, and resumes it."""
    for paper in options.papers:
        rng = random.Random(f"{options.seed} {paper}")
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            details = _kill(paper, Path(folder), options.times, rng)
        well = not (details["unlike"] or details["left"] or details["failed"])
        details["seen"] = (
            f"{details['runs']} runs finished, {details['runs'] - len(details['unlike'])} with the metrics, histories, "
            f"weights and files of an undisturbed one; {len(details['left'])} temporary files left"
        )
        yield f"kills_{paper}", f"`{paper}` killed and resumed", options.times, options.times * well, details


def _undisturbed(paper, folder):
    """A finished run of a paper, and the moments it had."""
    run = faulty.FaultyRun(folder, paper)
    status, moments, messages = run.finish(resume=False)
    if status:
        raise SystemExit(f"{paper} fails undisturbed: {messages}")
    return run, moments


def _kill(paper, folder, times, rng):
    began = time.monotonic()
    reference, moments = _undisturbed(paper, folder / "undisturbed")
    duration = time.monotonic() - began
    writes = [moment for moment in moments if not moment.startswith("os.mkdir")]
    chosen = collections.deque(writes[index] for index in sorted(rng.sample(range(len(writes)), times // 2)))
    details = {"runs": 0, "at": list(chosen), "unlike": [], "left": [], "failed": []}
    kills_done = 0
    with Bar(total=times, title=f"kill {paper}", unit=" kills") as bar:
        while kills_done < times:
            details["runs"] += 1
            run = faulty.FaultyRun(folder / f"run-{details['runs']}", paper)
            status, before = _KILLED, kills_done
            while status == _KILLED:
                if chosen:
                    status, _, messages = run.finish("kill", chosen[0])
                    if status == _KILLED:
                        chosen.popleft()
                elif kills_done < times:
                    status = run.kill_after(rng.uniform(0, duration))
                else:
                    status, _, messages = run.finish()
                kills_done += status == _KILLED
                bar.update(status == _KILLED)
            if chosen and kills_done == before:
                raise SystemExit(f"{paper} has no such moment any more: {chosen[0]}")
            details["failed"] += messages if status else []
            details["left"] += run.leftovers()
            unlike = [f"exit code {status}"] if status else differences(run.folder, reference.folder)
            if unlike:
                details["unlike"].append(unlike[:_MOST])
            else:
                shutil.rmtree(run.folder.parent)
    return details


def full(options):
    """Lets each paper's run find the disk full, ever later: its tmpfs grows a little before each time it is resumed."""
    for paper in options.papers:
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            reference, _ = _undisturbed(paper, Path(folder) / "undisturbed")
            disk = Path(folder) / "disk"
            disk.mkdir()
            details = _fill(faulty.FaultyRun(disk, paper), reference, options.times, disk)
        well = options.times - len(details["odd"])
        details["seen"] = "one line and exit code 2 each; resumed to " + (
            "the same metrics, histories, weights and files" if details["same"] else "other numbers"
        )
        yield f"full_{paper}", f"`{paper}` with a full disk, then resumed", options.times, well, details


def _fill(run, reference, times, disk):
    details, size = {"messages": [], "odd": [], "same": False}, 0
    used = _bytes_used(reference.folder.parent)
    _mount(disk, used // (times + 1))
    try:
        for _ in Bar(range(times), f"fill the disk of {run.paper}", unit=" times"):
            size += used // (times + 1)
            _mount(disk, size, "remount")
            status, _, messages = run.finish()
            left = run.leftovers()
            details["messages"] += messages[:1]
            clear = len(messages) == 2 and "No space left on device" in messages[0]
            if status != 2 or not clear or left:
                details["odd"].append({"bytes": size, "status": status, "messages": messages, "left": left})
        _mount(disk, 4 * used, "remount")
        status, _, messages = run.finish()
        unlike = [] if status else differences(run.folder, reference.folder)
        details["same"] = not (status or unlike)
        if not details["same"]:
            details["odd"].append({"status": status, "messages": messages, "unlike": unlike[:_MOST]})
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    return details


def _mount(disk, size, *options):
    words = ["-o", ",".join([*options, f"size={size}"]), "tmpfs", str(disk)]
    subprocess.run(["mount", "-t", "tmpfs", *words], check=True)


def _bytes_used(folder):
    return 512 * sum(path.stat().st_blocks for path in folder.rglob("*") if path.is_file())
