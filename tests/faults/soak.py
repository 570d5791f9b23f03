"""The long part of the tests of faults; what came out is shown by RELIABILITY.md.

    python tests/faults/soak.py kills
    unshare -rm python tests/faults/soak.py full         # its mounts are its own
    python tests/faults/soak.py train
    python tests/faults/soak.py requests
    python tests/faults/soak.py inputs
    python tests/faults/soak.py kills --papers bai_dcgan --times 5 --results r.json

Each part adds what it measured to results/reliability.json.
"""

import argparse
import collections
import datetime
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

import faulty
import long_run
import many_requests
from tqdm import tqdm

from keras_fracture.report import benchmarks

HERE = Path(__file__).parent
KILLED = -9
CASES = {"weights": "interop/test_bad_weights.py", "archives": "data/test_download.py"}


def kills(options):
    """Kills each paper's run at random moments, half of them of writing and half of the clock, and resumes it."""
    for paper in options.papers:
        chance = random.Random(f"{options.seed} {paper}")
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            kept = _kill(paper, Path(folder), options.times, chance)
        well = not (kept["other_metrics"] or kept["left"] or kept["failed"])
        kept["seen"] = (
            f"{kept['runs']} runs finished, {kept['runs'] - kept['other_metrics']} with the numbers of an "
        )
        kept["seen"] += f"undisturbed one; {len(kept['left'])} temporary files left"
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
        kept["seen"] = (
            "one line and exit code 2 each; resumed to the same numbers" if kept["same"] else "other numbers"
        )
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
            found["said"] += said[:1]
            clear = len(said) == 2 and "No space left on device" in said[0]
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


def inputs(options):
    """Tries hostile inputs of each kind, five times as many as the suite, and two kinds' cases of the suite."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        counts, cases = Path(folder) / "counts.json", Path(folder) / "cases.xml"
        files = ["test_images.py", "test_annotations.py", "test_models.py", "test_requests.py"]
        given = os.environ | {"FAULTS_BUDGET": "5", "FAULTS_COUNTS": str(counts)}
        words = [sys.executable, "-m", "pytest"]
        done = subprocess.run([*words, *(str(HERE / file) for file in files)], env=given, check=False)
        for kind, tried in json.loads(counts.read_text(encoding="utf-8")).items():
            well = tried * (done.returncode == 0)
            yield f"inputs_{kind.replace(' ', '_')}", f"odd and hostile {kind}", tried, well, {}
        for kind, file in CASES.items():
            done = subprocess.run([*words, str(HERE.parent / file), f"--junitxml={cases}"], check=False)
            tried = int(ElementTree.parse(cases).find("testsuite").get("tests"))
            well = tried * (done.returncode == 0)
            yield f"inputs_{kind}", f"odd and hostile {kind}: test cases", tried, well, {}


def _command(parser, options):
    """What was asked for, but for where it is recorded."""
    words = ["python", "tests/faults/soak.py", options.part]
    for name, value in vars(options).items():
        if name not in ("part", "results") and value != parser.get_default(name):
            words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)


def main(words=None):
    """Runs one part, and records what it yields: key, what was done, how often, how often it went well, details."""
    parts = {
        "kills": kills, "full": full, "train": long_run.train, "inputs": inputs, "requests": many_requests.requests,
    }  # fmt: skip
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=parts)
    parser.add_argument("--papers", nargs="+", default=list(faulty.COMMANDS), metavar="KEY")
    parser.add_argument("--times", type=int, default=20, help="faults a paper (default 20)")
    parser.add_argument("--minutes", type=float, default=15, help="of each of two trainings (default 15)")
    parser.add_argument("--requests", type=int, default=20_000, help="to one server (default 20000)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--results", default="results/reliability.json", metavar="FILE")
    options = parser.parse_args(words)
    command = _command(parser, options)
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
