"""What Linux says of the processor."""

import contextlib
import platform
from pathlib import Path

BFLOAT16 = {"avx512_bf16", "amx_bf16"}  # flags of processors that compute in bfloat16


def cpu_fields(path="/proc/cpuinfo"):
    """What Linux says of the first processor: name of a field, such as "flags", to its text; else an empty dict."""
    fields = {}
    with contextlib.suppress(OSError):
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    return fields


def described():
    """The processor in words, as results name it."""
    return f"{platform.machine()}, {cpu_fields().get('model name', 'unknown CPU')}"
