"""What the load on a really started server says."""

import pytest

from benchmarks.__main__ import main
from benchmarks.errors import BenchmarkError
from benchmarks.server import measure_server
from keras_fracture import models, serving


def test_what_cannot_be_measured_is_said(tmp_path):
    with pytest.raises(BenchmarkError, match=r"ten requests a client or more. Received: 79 from 8 clients"):
        measure_server(79, 8)
    plain = serving.export(models.create("compact_cnn", image_size=32), tmp_path / "plain")
    with pytest.raises(BenchmarkError, match="answers no bytes"):
        measure_server(100, 2, plain)


@pytest.mark.slow
def test_no_request_is_lost_and_memory_is_flat(capsys):
    assert main(["server", "--requests", "400", "--clients", "4"]) == 0
    rows = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["REST, 4 clients: requests"] == "400"
    assert rows["requests lost"] == rows["answers unlike the SavedModel's"] == "0"
    before, most = (
        float(rows[f"server's memory{when}, MiB"]) for when in (" after a tenth", ", most from there on")
    )
    assert 100 < most < before + 30
