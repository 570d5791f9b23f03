"""The long part of the tests of faults; what came out is shown by RELIABILITY.md.

    python tests/faults/soak.py kills
    unshare -rm python tests/faults/soak.py full         # its mounts are its own
    python tests/faults/soak.py requests
    python tests/faults/soak.py kills --papers bai_dcgan --times 5 --results /tmp/r.json

Each part adds what it measured to results/reliability.json.
"""

import argparse
import collections
import datetime
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import faulty
import many_requests
from tqdm import tqdm

from keras_fracture.report import benchmarks

KILLED = -9


def kills(options):
    """Kills each paper's run at random moments, half of them of writing and half of the clock, and resumes it."""
    for paper in options.papers:
        chance = random.Random(f"{options.seed} {paper}")
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            kept = _kill(paper, Path(folder), options.times, chance)
        well = not (kept["other_metrics"] or kept["left"] or kept["failed"])
        yield f"kills_{paper}", f"`{paper}` killed and resumed", options.times, options.times * well, kept


def _kill(paper, folder, times, chance):
    whole, began = faulty.Place(folder / "whole", paper), time.monotonic()
    status, moments, said = whole.finish(resume=False)
    if status:
        raise SystemExit(f"{paper} fails undisturbed: {said}")
    lasts = time.monotonic() - began
    writes = [moment for moment in moments if not moment.startswith("os.mkdir")]
    wanted = collections.deque(
        writes[place] for place in sorted(chance.sample(range(len(writes)), times // 2))
    )
    found = {"runs": 0, "at": list(wanted), "other_metrics": 0, "left": [], "failed": []}
    done = 0
    with tqdm(total=times, desc=f"kill {paper}", unit=" kills") as bar:
        while done < times:
            found["runs"] += 1
            place = faulty.Place(folder / f"run-{found['runs']}", paper)
            status, before = KILLED, done
            while status == KILLED:
                if wanted:
                    status, _, said = place.finish("kill", wanted[0])
                    if status == KILLED:
                        wanted.popleft()
                elif done < times:
                    status = place.kill_after(chance.uniform(0, lasts))
                else:
                    status, _, said = place.finish()
                done += status == KILLED
                bar.update(status == KILLED)
            if wanted and done == before:
                raise SystemExit(f"{paper} has no such moment any more: {wanted[0]}")
            found["failed"] += said if status else []
            found["left"] += place.leftovers()
            same = status == 0 and place.metrics() == whole.metrics() and place.files() == whole.files()
            found["other_metrics"] += not same
            if same:
                shutil.rmtree(place.run.parent)
    return found


def full(options):
    """Lets each paper's run find the disk full, ever later: its tmpfs grows a little before each time it is resumed."""
    for paper in options.papers:
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            whole = faulty.Place(Path(folder) / "whole", paper)
            if whole.finish(resume=False)[0]:
                raise SystemExit(f"{paper} fails undisturbed")
            disk = Path(folder) / "disk"
            disk.mkdir()
            kept = _fill(faulty.Place(disk, paper), whole, _used(whole.run.parent), options.times, disk)
        well = options.times - len(kept["odd"])
        yield f"full_{paper}", f"`{paper}` with a full disk, then resumed", options.times, well, kept


def _fill(place, whole, used, times, disk):
    found, size, step = {"said": [], "odd": [], "same": False}, 0, used // (times + 1)
    _mount(disk, step)
    try:
        for _ in tqdm(range(times), f"fill the disk of {place.words[1]}", unit=" times"):
            size += step
            _mount(disk, size, "remount")
            status, _, said = place.finish()
            left = place.leftovers()
            found["said"] += said
            clear = len(said) == 1 and "No space left on device" in said[0]
            if status != 2 or not clear or left:
                found["odd"].append({"bytes": size, "status": status, "said": said, "left": left})
        _mount(disk, 4 * used, "remount")
        status, _, said = place.finish()
        same = status == 0 and place.metrics() == whole.metrics() and place.files() == whole.files()
        found["same"] = same
        if not same:
            found["odd"].append({"status": status, "said": said})
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    return found


def _mount(disk, size, *options):
    words = ["-o", ",".join([*options, f"size={size}"]), "tmpfs", str(disk)]
    subprocess.run(["mount", "-t", "tmpfs", *words], check=True)


def _used(folder):
    blocks = [path.stat().st_blocks for path in folder.rglob("*") if path.is_file()]
    return 512 * sum(blocks)


def main(words=None):
    """Runs one part, and records what it yields: key, what was done, how often, how often it went well, details."""
    parts = {"kills": kills, "full": full, "requests": many_requests.requests}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=parts)
    parser.add_argument("--papers", nargs="+", default=list(faulty.COMMANDS), metavar="KEY")
    parser.add_argument("--times", type=int, default=20, help="faults a paper (default 20)")
    parser.add_argument("--requests", type=int, default=20_000, help="to one server (default 20000)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--results", default="results/reliability.json", metavar="FILE")
    options = parser.parse_args(words)
    command = shlex.join(["python", "tests/faults/soak.py", *(words or sys.argv[1:])])
    failed = 0
    for key, what, tried, well, details in parts[options.part](options):
        row = {"what": what, "tried": tried, "well": well, "details": details}
        row |= {"command": command, "date": datetime.date.today().isoformat()}
        benchmarks.record(options.results, key, row)
        failed += well < tried
        print(f"{what}: {well} of {tried} went well", details if well < tried else "", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
