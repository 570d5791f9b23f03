"""Says where the repository is, everywhere at once: `python scripts/set_repository.py OWNER/NAME`."""

import re
import sys
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
HOST = "https://github.com/"
FILES = ("pyproject.toml", "README.md", "CITATION.cff", "notebooks/*.ipynb", "docs/**/*.md", "docs/conf.py")


def main(arguments=None, checkout=CHECKOUT):
    """Replaces the address that `pyproject.toml` names in all files that have it; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 1 or not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", given[0]):
        print(
            f"usage: python scripts/set_repository.py OWNER/NAME. Received: {' '.join(given)!r}",
            file=sys.stderr,
        )
        return 2
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    before = project["urls"]["Repository"].removeprefix(HOST)
    # As an address' part of its own, such as /OWNER/NAME/ or the end of one; a longer name is another repository.
    there = re.compile(rf"(?<=/){re.escape(before)}(?![\w.-])")
    for path in sorted(path for pattern in FILES for path in checkout.glob(pattern)):
        text = path.read_text(encoding="utf-8")
        changed, count = there.subn(given[0], text)
        if count:
            path.write_text(changed, encoding="utf-8")
            print(f"{path.relative_to(checkout)}: {count}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
