"""How far long work has come: a bar where somebody watches, one line a stage in a log."""

import contextlib
import os
import sys
import time

from tqdm import tqdm

from keras_fracture.errors import printable

_state = {"quiet": False}


@contextlib.contextmanager
def quiet():
    """Within it there are no bars, no lines of stages, and nothing of `say`."""
    before, _state["quiet"] = _state["quiet"], True
    try:
        yield
    finally:
        _state["quiet"] = before


def say(text):
    """Prints what is neither a result nor a warning, such as where a result was written."""
    if not _state["quiet"]:
        print(text, flush=True)


class Bar(tqdm):
    """A progress bar on standard error if that is a terminal or a notebook, else one line when the stage starts.

    The environment variable TQDM_DISABLE=1 switches both off.

    Args:
        items: What is iterated over; None for a bar that `update` moves.
        title: The stage, in words.
        total: How many items, where `items` has no length.
        unit: What is counted, such as " images".
        delay: Seconds for which nothing is shown, for stages that are often short.
        shown: False shows nothing at all.
        **options: tqdm's.
    """

    def __init__(self, items=None, title="", total=None, *, unit, delay=0.0, shown=True, **options):
        shown = shown and not _state["quiet"]
        watched = _watched()
        if not (shown and watched):
            options["disable"] = True  # only then: False would win over TQDM_DISABLE
        super().__init__(items, title, total, unit=unit, delay=delay, **options)
        self._line = None
        if shown and not watched and not os.environ.get("TQDM_DISABLE") and self.total != 0:
            self._line, self._from = f"{title}{_amount(self.total, unit, options)}", time.monotonic() + delay
            self._tell()

    def __iter__(self):
        for item in super().__iter__():
            self._tell()
            yield item

    def update(self, n=1):
        self._tell()
        return super().update(n)

    def _tell(self):
        if self._line is not None and time.monotonic() >= self._from:
            print(printable(self._line), file=sys.stderr, flush=True)
            self._line = None


def _watched():
    return sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel")


def _amount(total, unit, options):
    """The words behind a stage's title: how many of what, and how many of them are done."""
    if total is None:
        return ""
    if options.get("unit_scale"):
        return f": {tqdm.format_sizeof(total, unit)}"
    done = options.get("initial", 0)
    return f": {total:,}{unit}" + (f", {done:,} of them done before" if done else "")
