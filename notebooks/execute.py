"""Executes the notebooks: `make notebooks`.

    python notebooks/execute.py                         # all, smoke, two at a time: do they run?
    python notebooks/execute.py 05 --profile quick
    python notebooks/execute.py 05 --solutions          # the solutions of its exercises as well
    python notebooks/execute.py --profile quick --write # what is committed: outputs in place, tidied

What runs write goes to a temporary folder that is removed afterwards.
"""

import argparse
import importlib.util
import json
import os
import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
NEEDS = {"07_pytorch_side_by_side": "torch"}  # which is not in requirements.txt
LONGEST = 3600  # seconds a cell may take
WARNED = re.compile(r"keras_fracture/\S+\.py:\d+: (UserWarning: .*)")  # by the package, and what it says


def with_solutions(notebook):
    """A notebook with the code of its folded solutions as cells: at the end, or before what it started is stopped.

    Args:
        notebook: A notebook as a dict, format 4.

    Returns:
        The notebook, and how many cells were added.
    """
    cells, texts = notebook["cells"], []
    for cell in cells:
        if cell["cell_type"] == "markdown":
            folded = re.findall(r"<summary>Solution</summary>(.*?)</details>", "".join(cell["source"]), re.S)
            texts += [code for text in folded for code in re.findall(r"```python\n(.*?)```", text, re.S)]
    made = [
        {"cell_type": "code", "id": f"solution-{number}", "metadata": {}, "execution_count": None, "outputs": [],
         "source": text}
        for number, text in enumerate(texts, 1)
    ]  # fmt: skip
    stops = [place for place, cell in enumerate(cells) if "".join(cell["source"]).startswith("stop.close()")]
    place = stops[0] if stops else len(cells)
    return notebook | {"cells": [*cells[:place], *made, *cells[place:]]}, len(made)


def execute(path, profile, folder, solutions=False):
    """Executes one notebook from top to bottom.

    Args:
        path: The .ipynb file.
        profile: "smoke" or "quick".
        folder: Where the executed copy goes.
        solutions: Whether the solutions of its exercises are executed, too.

    Returns:
        The executed notebook as a dict.

    Raises:
        papermill.PapermillExecutionError: A cell failed.
    """
    import papermill

    out = folder / path.name
    if solutions:
        changed, _ = with_solutions(json.loads(path.read_text(encoding="utf-8")))
        path = folder / f"with-{path.name}"
        path.write_text(json.dumps(changed), encoding="utf-8")
    # `quick` is what the notebooks say themselves: without a parameter, no cell is added.
    parameters = {} if profile == "quick" else {"PROFILE": profile}
    papermill.execute_notebook(
        path, out, parameters, cwd=HERE, kernel_name="python3", progress_bar=False, execution_timeout=LONGEST,
        extra_arguments=["--log-level=ERROR"],  # of the kernel, which would warn that its ports are not encrypted
    )  # fmt: skip
    return json.loads(out.read_text(encoding="utf-8"))


def attempt(path, profile, folder, solutions=False):
    """Executes one notebook and says how it went; returns what `execute` does, or None if a cell failed."""
    from papermill import PapermillExecutionError

    start = time.perf_counter()
    try:
        made = execute(path, profile, folder, solutions)
    except PapermillExecutionError as error:
        print("\n".join(error.traceback), file=sys.stderr)
        print(f"{path.stem:<28} FAILED: {error.ename}: {error.evalue}", flush=True)
        return None
    print(f"{path.stem:<28}{time.perf_counter() - start:>7.0f} s", flush=True)
    return made


def runnable(path):
    """Whether the library that a notebook needs, if any, is installed."""
    needed = NEEDS.get(path.stem)
    return not needed or importlib.util.find_spec(needed) is not None


def tidy(notebook, private):
    """An executed notebook without what only this execution knows: times, libraries' warnings, paths of the machine.

    What the package itself warns of stays: readers have to know it.

    Args:
        notebook: A notebook as a dict, format 4.
        private: Paths that must not be seen; each is cut out wherever it stands.

    Returns:
        The notebook as a dict.
    """
    for cell in notebook["cells"]:
        tags = [tag for tag in cell["metadata"].get("tags", ()) if tag == "parameters"]
        cell["metadata"] = {"tags": tags} if tags else {}
        if cell["cell_type"] == "code":
            for output in cell["outputs"]:
                output.pop("transient", None)
                if output.get("name") == "stderr":
                    output["text"] = [f"{said}\n" for said in WARNED.findall("".join(output["text"]))]
            cell["outputs"] = [each for each in cell["outputs"] if each.get("text") != []]
    notebook["metadata"] = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    text = json.dumps(notebook, ensure_ascii=False)
    for path in sorted(private, key=len, reverse=True):
        text = text.replace(path.rstrip("/") + "/", "").replace(path, "")
    return json.loads(text)


def main(arguments=None):
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="beginnings of names, such as 05; default all")
    parser.add_argument("--profile", choices=("smoke", "quick"), default="smoke")
    parser.add_argument("--write", action="store_true", help="write outputs into the notebooks; quick only")
    parser.add_argument(
        "--solutions", action="store_true", help="execute the solutions of the exercises, too"
    )
    given = parser.parse_args(arguments)
    if given.write and given.solutions:
        parser.error("solutions stay folded away: leave --write or --solutions out")
    if given.write and given.profile != "quick":
        parser.error("--write is for --profile quick, which the notebooks' own parameters say")
    paths = [
        path for path in sorted(HERE.glob("*.ipynb")) if path.name.startswith(tuple(given.names or [""]))
    ]
    if not paths:
        parser.error(f"no notebook begins so. Received: {' '.join(given.names)}")
    os.environ["TQDM_DISABLE"] = "1"
    for path in [path for path in paths if not runnable(path)]:
        print(f"{path.stem:<28} left out: {NEEDS[path.stem]} is not installed", flush=True)
        paths.remove(path)
    # What is written was timed, and times others: alone. Smoke runs only have to end.
    jobs = 2 if given.profile == "smoke" else 1
    failed = 0
    with tempfile.TemporaryDirectory(prefix="keras_fracture-notebooks-") as folder:
        os.environ["TMPDIR"] = folder
        with ThreadPoolExecutor(jobs) as pool:
            made = pool.map(lambda path: attempt(path, given.profile, Path(folder), given.solutions), paths)
            for path, notebook in zip(paths, made, strict=True):
                failed += notebook is None
                if given.write and notebook:
                    private = (folder, str(HERE.parent), sys.prefix, str(Path.home()))
                    text = json.dumps(tidy(notebook, private), ensure_ascii=False, indent=1, sort_keys=True)
                    path.write_text(text + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
