import pytest

from benchmarks import startup
from benchmarks.errors import BenchmarkError


def test_each_program_is_timed_after_a_round_of_warming(monkeypatch):
    asked = []

    def seconds(name, program):
        asked.append(name)
        slow = 5 * ("tensorflow" in program) + 0.2 * ("keras_fracture" in program)
        return 100 if len(asked) <= len(startup._PROGRAMS) else slow

    monkeypatch.setattr(startup, "_seconds", seconds)
    numbers = startup.measure_startup(3)
    assert asked == [*startup._PROGRAMS] * 4
    assert numbers["import tensorflow, seconds"] == 5 and numbers["Python alone, seconds"] == 0
    assert numbers["keras_fracture over tensorflow, seconds"] == pytest.approx(0.2)
    assert numbers["keras-fracture predict, one image, over tensorflow, seconds"] == pytest.approx(-4.8)


def test_a_program_that_fails_is_said():
    assert startup._seconds("nothing", "pass") > 0
    with pytest.raises(BenchmarkError, match=r"wrong cannot be timed. Received: exit code 3"):
        startup._seconds("wrong", "raise SystemExit(3)")
    with pytest.raises(BenchmarkError, match="Received: 0"):
        startup.measure_startup(0)
