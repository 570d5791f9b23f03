import json
import shutil
from pathlib import Path

import pytest

from keras_fracture import cli, papers
from keras_fracture.errors import OutputError
from keras_fracture.papers import tables
from keras_fracture.report import results
from tests.papers.recorded import CONFIG, run


def test_readme_tables_follow_the_results(tmp_path):
    results.record(tmp_path, CONFIG, {"runs": [run("original", 0.5)]}, tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- table ibrahim_gan -->\nold\n<!-- end -->\nafter\n")
    with pytest.raises(OutputError, match="make tables"):
        tables.update(readme, tmp_path, check=True)
    assert "old" in readme.read_text()
    assert tables.update(readme, tmp_path) is False
    assert tables.update(readme, tmp_path, check=True) is True
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("<!-- end -->\nafter\n") and "old" not in text
    assert "| phantom | grouped | original | 92 | 50.0 (49.0 to 51.0) |" in text


def test_below_a_papers_table_each_command_says_which_rows_it_made(tmp_path):
    one = [run(variant, 0.5) for variant in ("original", "synthetic")]
    results.record(tmp_path, CONFIG, {"runs": one}, tmp_path)
    each = {"accuracy": [0.5, 0.704], "auc": [0.6, 0.71]}
    other = [run("original", 0.6) | {"data": "btxrd", "image_size": 64, "by_seed": each}]
    results.record(tmp_path, CONFIG | {"command": "keras-fracture x"}, {"runs": other}, tmp_path)
    made = [line for line in tables.generate(tmp_path, "ibrahim_gan").splitlines() if line.startswith("- ")]
    assert made == [
        "- phantom, grouped split, compact_cnn, profile quick, seeds: 3, 2026-12-02: "
        "`keras-fracture reproduce ibrahim_gan`",
        "- btxrd, grouped split, compact_cnn, variant original, profile quick, 64 pixels, seeds: 3, 2026-12-02: "
        "`keras-fracture x`; seed by seed: test accuracy 50.0, 70.4 %, AUC 0.600, 0.710",
    ]


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ({"original": 48, "classic": 48, "synthetic": 48}, None),
        ({"original": 48, "classic": 48, "synthetic": 96}, "`synthetic` took"),
        (
            {"original": None, "classic": None, "synthetic": None, "warm_start": None},
            "`synthetic` and `warm_start` took",
        ),
    ],
)
def test_gains_after_other_numbers_of_steps_are_told_below_the_posters_table(tmp_path, steps, told):
    """Rows of earlier versions do not say their steps; of those of another run nothing is compared."""
    rows = [run(arm, 0.5) | ({"steps": count} if count else {}) for arm, count in steps.items()]
    results.record(tmp_path, CONFIG, {"runs": rows}, tmp_path)
    other = [run(arm, 0.5) | {"epochs": 9, "steps": 7} for arm in ("original", "synthetic")]
    results.record(tmp_path, CONFIG | {"command": "keras-fracture x"}, {"runs": other}, tmp_path)
    below = [
        line for line in tables.generate(tmp_path, "ibrahim_gan").splitlines() if "longer training" in line
    ]
    assert len(below) == bool(told)
    assert not told or below[0].startswith(
        f"For as many epochs, {told} other numbers of steps than `original`: "
    )


def test_tables_are_found_where_they_stand(tmp_path, monkeypatch, capsys):
    with pytest.raises(OutputError, match="start it in a checkout"):
        tables.having(tmp_path)
    results.record(tmp_path / "results", CONFIG, {"runs": [run("original", 0.5)]}, tmp_path)
    paths = [
        tmp_path / name
        for name in ("README.md", "docs/a.md", "docs/papers/b.md", "docs/none.md", "notes/c.md")
    ]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("" if path.name == "none.md" else "<!-- table ibrahim_gan -->\n<!-- end -->\n")
    assert tables.having(tmp_path) == paths[:3]
    monkeypatch.chdir(tmp_path)
    assert cli.main(["tables"]) == 0 and capsys.readouterr().out.count("wrote ") == 3
    assert (
        all("50.0 (49.0 to 51.0)" in path.read_text() for path in paths[:3])
        and "50.0" not in paths[4].read_text()
    )
    assert cli.main(["tables", "--check"]) == 0


def test_notebooks_show_the_runs_that_are_recorded_now(tmp_path):
    def cell(source, *outputs):
        outputs = [{"data": {"text/markdown": text.splitlines(True)}} for text in outputs]
        return {"cell_type": "code", "source": [source], "outputs": outputs}

    results.record(tmp_path / "results", CONFIG, {"runs": [run("original", 0.5)]}, tmp_path)
    old = "| compact_cnn | paper | here: turned | recorded: gone |\n| --- | --- | --- | --- |\n"
    old += "| original: AUC |  | 0.900 | 0.100 |\n\nRecorded: `x`\n"
    cells = [
        cell('KEY = "ibrahim_gan"'),
        cell("Markdown(comparison.beside(KEY, run, RESULTS))", old),
        cell('Markdown(comparison.beside("ibrahim_gan", folder=RESULTS))', old.replace("here", "recorded")),
        cell("Markdown(old)", old),
        cell('Markdown(benchmarks.table(path, "models") if path.is_file() else "")', old),
    ]
    shutil.copy(Path(__file__).parents[2] / "results" / "benchmark.json", tmp_path / "results")
    path = tmp_path / "notebooks" / "a.ipynb"
    path.parent.mkdir()
    path.write_text(json.dumps({"cells": cells}))
    (tmp_path / "README.md").write_text("<!-- table ibrahim_gan -->\n<!-- end -->\n")
    assert tables.having(tmp_path) == [tmp_path / "README.md", path]
    with pytest.raises(OutputError, match="make tables"):
        tables.update(path, tmp_path / "results", check=True)
    assert tables.update(path, tmp_path / "results") is False
    assert tables.update(path, tmp_path / "results", check=True) is True
    shown = [
        "".join(output["data"]["text/markdown"])
        for one in json.loads(path.read_text())["cells"]
        for output in one["outputs"]
    ]
    assert "| original: AUC |  | 0.900 | 0.500 (0.490 to 0.510) |" in shown[0] and "gone" not in shown[0]
    assert "| original: AUC |  | 0.500 (0.490 to 0.510) |" in shown[1] and "0.900" not in shown[1]
    assert shown[2] == old, "another cell's output stays"
    assert shown[3] == tables.generate(tmp_path / "results", "benchmark_models") != old
    assert shown[3].startswith("| model | batch, pixels | trainable parameters (classifiers: 2 classes) |")


def test_the_front_table_has_the_newest_run_of_what_a_paper_is_known_by(tmp_path):
    runs = (
        ("fracatlas", 3, "2026-11-26", 0.5),
        ("fracatlas", 5, "2026-12-20", 0.6),
        ("phantom", 3, "2027-01-01", 0.7),
    )
    for data, seeds, date, value in runs:
        record_one(tmp_path, date, value, data=data, seeds=seeds)
    record_one(tmp_path, "2027-02-02", 0.9, profile="smoke")
    assert "| 0.600 (0.590 to 0.610) |  | fracatlas," in front_row(tmp_path)


def test_the_front_table_has_the_run_that_validation_images_choose(tmp_path):
    runs = (
        ("2026-11-20", 0.2, 0.9),
        ("2026-11-26", 0.5, 0.7),
        ("2026-11-27", 0.6, 0.6),
        ("2026-11-28", 0.4, 0.7),
    )
    for date, value, validation in runs:
        record_one(tmp_path, date, value, validation)
    shown = "| 0.400 (0.390 to 0.410) |  | fracatlas,"  # neither newest nor best; before the mend is none
    assert shown in front_row(tmp_path)
    record_one(tmp_path, "2026-11-29", 0.9, 0.65)
    assert shown in front_row(tmp_path)


def test_the_front_table_says_what_a_number_is_held_against(tmp_path):
    """The arm without synthetic images of the same command; not that of another run."""
    for number, (original, synthetic) in enumerate(((0.5, 0.6), (0.2, 0.3)), 1):
        config = CONFIG | {"command": f"keras-fracture reproduce ibrahim_gan --epochs {number}"}
        rows = [run("original", original), run("synthetic", synthetic)]
        rows = [row | {"data": "fracatlas", "epochs": number} for row in rows]
        results.record(tmp_path, config, {"runs": rows}, tmp_path)
    assert "| 0.600 (0.590 to 0.610) | 0.500 without them, in fewer steps | fracatlas," in front_row(tmp_path)


def record_one(folder, date, value, validation=None, **others):
    entry = run("synthetic", value) | {"data": "fracatlas", "epochs": int(date[-2:])} | others  # none alike
    if validation is not None:
        entry["metrics"]["validation_accuracy"] = {"value": validation, "low": 0.0, "high": 1.0}
    results.record(folder, CONFIG | {"date": date}, {"runs": [entry]}, folder)


def front_row(folder):
    (row,) = tables.generate(folder, "front").splitlines()[2:]
    assert row.startswith("| [ibrahim_gan](docs/papers/ibrahim_gan.md) | with synthetic X-rays, AUC |  | ")
    return row


def test_rows_of_other_splits_and_sizes_are_not_merged(tmp_path):
    for split, size, value in (("grouped", 64, 0.5), ("paper", 64, 0.6), ("grouped", 32, 0.7)):
        row = run("original", value) | {"study": "learning_curve", "real_images": 100, "split_policy": split}
        results.record(tmp_path, CONFIG, {"runs": [row | {"image_size": size}]}, tmp_path)
    rows = tables.generate(tmp_path, "ibrahim_learning_curve").splitlines()[2:]
    assert [row.split(" | ")[2:4] for row in rows] == [
        ["0.500 (0.490 to 0.510)", "quick, 3 seeds"],
        ["0.700 (0.690 to 0.710)", "quick, 3 seeds, 32 pixels"],
        ["0.600 (0.590 to 0.610)", "quick, 3 seeds, paper split"],
    ]


def test_a_damaged_results_file_is_named(tmp_path):
    (tmp_path / "ibrahim_gan.json").write_text("{")
    with pytest.raises(OutputError, match="not a results file"):
        results.record(tmp_path, CONFIG, {"runs": []}, tmp_path)


WORK = {"operations": 8e9, "bytes": 1e9, "kernels": 100}
MEMORY = {side: {"library": 700.0, "step": step} for side, step in (("ours", 282.6), ("pytorch", 326.5))}
RUN = {
    "model": "resnet18", "parameters": 11_177_538, "precision": "float32", "ours": 30.0, "pytorch": 24.0,
    "ratio": 1.25, "others": 0.013, "fair": True, "batch_size": 8, "image_size": 224, "work": WORK, "memory": MEMORY,
}  # fmt: skip
BENCHMARK = {
    "command": "keras-fracture benchmark models", "date": "2026-12-02", "peak": 100e9, "steps": 20,
    "versions": {"tensorflow": "2.21.0", "keras": "3.15.1", "torch": "2.13.0"},
    "cpu": {"name": "Some CPU", "cores": 2, "flags": ["avx2"]},
    "runs": [
        RUN,
        RUN | {"precision": "bfloat16", "ours": 20.0, "pytorch": 60.0, "ratio": 1 / 3},
        RUN | {"model": "unit", "ours": 3.2, "pytorch": 1.0, "ratio": 3.2, "others": 0.5, "fair": False},
    ],
}  # fmt: skip
STARTUP = {
    "command": "x",
    "date": "2026-12-02",
    "numbers": {"a, seconds": 0.25, "b": None},
    "goals": {"b": "few"},
}


def test_benchmarks_become_tables_with_their_conditions(tmp_path):
    (tmp_path / "benchmark.json").write_text(json.dumps({"models": BENCHMARK, "startup": STARTUP}))
    readme = tmp_path / "README.md"
    marks = "".join(
        f"<!-- table benchmark_{key} -->\n<!-- end -->\n" for key in ("models", "ratios", "startup")
    )
    readme.write_text(marks)
    assert tables.update(readme, tmp_path) is False
    assert tables.update(readme, tmp_path, check=True) is True
    text = readme.read_text()
    # A billion operations an image: 30 images a second are 30 of 100 billion.
    row = "| resnet18 | 8, 224 | 11,177,538 | float32 | 30.0 | 24.0 | 1.25 | 30%, 24% | 283, 326 |"
    assert row in text and "| 3.2 | 1.0 | machine was busy | 3%, 1% |" in text
    # The best of each side: 30 in float32 over 60 in bfloat16, without what was measured beside other work.
    assert (
        "Geometric mean of 1 ratio, each side at its faster precision: **0.50**, smallest 0.50. Left out, as the "
        "machine was busy: 1 of 3 runs." in text
    )
    assert "resnet18 0.50; geometric mean **0.50**.\n<!-- end -->" in text
    assert "Some CPU, 2 cores (avx2); tensorflow 2.21.0, keras 3.15.1, torch 2.13.0." in text
    assert "Other programs used at most 50% of the CPU meanwhile." in text
    assert "`keras-fracture benchmark models`, 2026-12-02\n<!-- end -->" in text
    assert "| a, seconds | 0.25 |  |\n| b | none | few |" in text


@pytest.mark.parametrize("damage", [{"runs": [{"model": "resnet18"}]}, {"cpu": None}, {"versions": {}}])
def test_a_damaged_benchmark_is_named(damage, tmp_path):
    with pytest.raises(OutputError, match="holds no benchmark models"):
        tables.generate(tmp_path, "benchmark_models")
    (tmp_path / "benchmark.json").write_text(json.dumps({"models": BENCHMARK | damage}))
    with pytest.raises(OutputError, match=r"benchmark models in .* is not of its form"):
        tables.generate(tmp_path, "benchmark_models")


@pytest.mark.parametrize(
    ("key", "settings", "wanted"),
    [
        ("bai_dcgan", {"image_size": 32, "epochs": 7}, "| quick, 32 pixels |"),
        ("bai_dcgan", {"image_size": 64, "epochs": 7}, "| quick |"),
        ("gupta_unit", {"image_size": 64, "epochs": 3}, "| quick, 64 pixels, epochs 3, 2 |"),
        ("gupta_unit", {"image_size": 96, "epochs": 12}, "| quick, 2 |"),
    ],
)
def test_tables_tell_pixels_and_epochs_that_are_not_the_profiles(key, settings, wanted):
    row = results.read(Path(__file__).parents[2] / "results" / f"{key}.json")["runs"][0]
    row = row | {"other_settings": {}, "profile": "quick", "seeds": 2} | settings
    report = papers.get(key).report
    assert wanted in report.table([row])


def test_checks_of_translators_on_other_pixels_stand_beside_each_other():
    runs = results.read(Path(__file__).parents[2] / "results" / "gupta_unit.json")["runs"]
    row = next(run for run in runs if run["checks"])
    lines = papers.get("gupta_unit").report.checks_table([row, row | {"image_size": 64}]).splitlines()
    assert [", 64 pixels |" in line for line in lines] == [False, False, False, True]


def test_all_papers_stand_in_one_table(tmp_path):
    results.record(tmp_path, CONFIG, {"runs": [run("original", 0.5), run("warm_start", 0.6)]}, tmp_path)
    rows = tables.generate(tmp_path, "papers").splitlines()
    assert len(rows) == 3  # header, rule, and the one headline that was measured
    assert rows[2].startswith(
        "| `ibrahim_gan` | original images: accuracy | 0.920 | 0.500 (0.490 to 0.510) |"
    )
    assert rows[2].endswith("| phantom, grouped split, profile quick, seeds: 3, 2026-12-02 |")


def test_the_table_of_all_papers_names_the_part_that_was_measured(tmp_path):
    arm = run("baseline", 0.5) | {"part": "shoulder", "stands_for": "femur", "unit_steps": 600}
    arm["metrics"] = {"auc": {"value": 0.5, "low": 0.4, "high": 0.6}}
    results.record(tmp_path, CONFIG | {"paper": "gupta_unit"}, {"runs": [arm]}, tmp_path)
    assert "| `gupta_unit` | shoulder (paper: femur), baseline: AUC |" in tables.generate(tmp_path, "papers")


@pytest.mark.parametrize(
    ("epochs", "words"), [(60, "profile paper, epochs 60, 64"), (900, "profile paper, 64")]
)
def test_a_run_that_was_cut_does_not_pass_for_the_whole_schedule(tmp_path, epochs, words):
    recorded = results.read(Path(__file__).parents[2] / "results" / "bai_dcgan.json")
    row = recorded["runs"][0] | {"profile": "paper", "variant": "paper", "epochs": epochs}
    (tmp_path / "bai_dcgan.json").write_text(json.dumps(recorded | {"runs": [row]}))
    assert words in tables.generate(tmp_path, "papers")


def test_checks_of_patches_are_shown_once_a_part(tmp_path):
    score = {"value": 0.9, "low": 0.8, "high": 0.95}
    checks = {"detector_auc": score, "raised": 0.934, "score_before": 0.1, "score_after": 0.8, "score_lesions": 0.9,
              "cycle_error": 0.04, "seam_auc": score}  # fmt: skip
    arms = [run(arm, 0.5) | {"part": part, "unit_steps": 600, "checks": checks if part == "tibia" else {}}
            for part in ("tibia", "femur") for arm in ("baseline", "augmented")]  # fmt: skip
    results.record(tmp_path, CONFIG | {"paper": "gupta_unit"}, {"runs": arms}, tmp_path)
    rows = tables.generate(tmp_path, "gupta_checks").splitlines()
    assert rows[2:] == [
        "| phantom | tibia | 600 | 0.900 (0.800 to 0.950) | 93 | 0.10, 0.80, 0.90 | 0.040 | 0.900 (0.800 to 0.950) "
        "| 2 |"
    ]


def test_what_was_done_on_purpose_becomes_a_table(tmp_path):
    row = {"what": "killed", "tried": 20, "well": 19, "command": "python soak.py", "date": "2026-11-22"}
    rows = {"train": row | {"tried": 2000, "details": {}}, "kills": row | {"details": {"seen": "one other"}}}
    (tmp_path / "reliability.json").write_text(json.dumps(rows))
    lines = tables.generate(tmp_path, "reliability").splitlines()
    assert lines[2] == "| killed | 20 | 19 | one other | `python soak.py` | 2026-11-22 |"
    assert lines[3].startswith("| killed | 2,000 | 19 |  |") and len(lines) == 4
