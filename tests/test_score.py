"""`score`, from a csv of any framework to the board."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from keras_fracture import cli, data
from keras_fracture.data import catalogue, split_files
from keras_fracture.data.datasets.phantom import layout
from keras_fracture.errors import EvaluationError
from keras_fracture.evaluation import baselines, scorer
from keras_fracture.report import scored
from tests.data import phantoms

CARD = [
    "--who",
    "A. Doe",
    "--code",
    "https://example.org",
    "--training-data",
    "train",
    "--pretrained",
    "nothing",
]


@pytest.fixture(scope="module")
def test_table(tmp_path_factory):
    """The test split of a phantom data set of few limbs."""
    with phantoms.few(30, 24, tmp_path_factory.mktemp("cache")):
        yield data.load("phantom", "test").table


@pytest.fixture
def said(test_table, tmp_path):
    """A function of columns that writes predictions, three seeds of which tell something; and its path."""

    def write(name="said.csv", **columns):
        rng, parts = np.random.default_rng(len(name)), []
        for seed in range(3):
            probability = np.clip(
                0.5 + 0.2 * (test_table["label"] - 0.5) + rng.normal(0, 0.2, len(test_table)), 0, 1
            )
            parts.append(
                pd.DataFrame({"filename": test_table["filename"], "seed": seed, "probability": probability})
            )
        rows = pd.concat(parts, ignore_index=True).assign(**columns)
        rows.to_csv(tmp_path / name, index=False)
        return tmp_path / name

    return write


def run(capsys, *arguments):
    code = cli.main(["score", *map(str, arguments), "--data", "phantom"])
    return code, *capsys.readouterr()


def test_scores_are_scikit_learns(said, test_table, tmp_path, capsys):
    path = said()
    code, out, _ = run(capsys, path, "--out", tmp_path / "scored", "--threshold", 0.4)
    assert code == 0 and "threshold 0.4, as given" in out
    (verdict,) = [line for line in out.splitlines() if "which do not see the bone: AUC " in line]
    assert verdict in (tmp_path / "scored" / "report.md").read_text()
    content = json.loads((tmp_path / "scored" / "scores.json").read_text())
    rows, labels = pd.read_csv(path, float_precision="round_trip"), test_table["label"].to_numpy()
    expected = {}
    for _, of_seed in rows.groupby("seed"):
        probability = of_seed["probability"].to_numpy()
        called = probability >= 0.4
        false, true, _ = metrics.roc_curve(labels, probability, drop_intermediate=False)
        for name, value in {
            "accuracy": metrics.accuracy_score(labels, called),
            "balanced_accuracy": metrics.balanced_accuracy_score(labels, called),
            "precision": metrics.precision_score(labels, called),
            "recall": metrics.recall_score(labels, called),
            "specificity": metrics.recall_score(labels, called, pos_label=0),
            "f1": metrics.f1_score(labels, called),
            "auc": metrics.roc_auc_score(labels, probability),
            "average_precision": metrics.average_precision_score(labels, probability),
            "brier": metrics.brier_score_loss(labels, probability),
            "sensitivity_at_90": true[false <= 0.1 + 1e-9].max(),
            "sensitivity_at_95": true[false <= 0.05 + 1e-9].max(),
        }.items():
            expected.setdefault(name, []).append(value)
    assert set(expected) | {"ece"} == set(scored.METRICS.values())
    for name, values in expected.items():
        score = content["metrics"][name]
        assert score["value"] == pytest.approx(np.mean(values), abs=1e-12), name
        assert score["low"] < score["value"] < score["high"], name
    assert content["seeds"] == 3 and content["images"] == len(labels)
    report = (tmp_path / "scored" / "report.md").read_text()
    assert f"{content['metrics']['auc']['value']:.3f}" in report and "at the threshold 0.4" in report.lower()
    assert {path.name for path in (tmp_path / "scored").iterdir()} >= {
        "report.html",
        "roc.png",
        "precision-recall.png",
        "groups.csv",
    }


def test_seeds_that_a_program_wrote_as_decimals_keep_their_order(said, test_table):
    whole = pd.read_csv(said("one.csv"))
    rows = pd.concat([whole.assign(seed=whole["seed"] + 8, probability=whole["probability"] / 2), whole])
    path = said().with_name("whole.csv")
    found = []
    for number in (int, float):
        rows.assign(seed=rows["seed"].astype(number)).to_csv(path, index=False)
        found.append(scorer.predictions(path, "phantom", test_table, {}).probabilities)
    np.testing.assert_array_equal(*found)
    assert len(found[0]) == 6 and (found[1][3:] <= 0.5).all()


def test_an_ensemble_is_the_mean_of_the_seeds(said, test_table, tmp_path, capsys):
    path = said()
    code, out, _ = run(capsys, path, "--average", "--against", path, "--out", tmp_path / "scored")
    mean = pd.read_csv(path).groupby("filename")["probability"].mean()[test_table["filename"]]
    auc = metrics.roc_auc_score(test_table["label"], mean)
    of_seeds = np.mean(
        [
            metrics.roc_auc_score(test_table["label"], one["probability"])
            for _, one in pd.read_csv(path).groupby("seed")
        ]
    )
    assert code == 0 and "seeds: 1, an ensemble of 3\n" in out
    assert f"beside said: AUC {auc - of_seeds:+.3f} (" in out
    assert "beside said: the ensemble against each of its 3 seeds, on average\n" in out
    content = json.loads((tmp_path / "scored" / "scores.json").read_text())
    assert content["metrics"]["auc"]["value"] == pytest.approx(auc, abs=1e-12)
    assert (content["seeds"], content["ensemble_of"]) == (1, 3)
    report = (tmp_path / "scored" / "report.md").read_text()
    assert "| beside `said` | of `said` | these predictions less those of `said` |" in report
    assert f"| AUC | {of_seeds:.3f} | {auc - of_seeds:+.3f} (" in report
    assert "- ensemble_of: 3" in report and "(sources, not files); one ensemble, so that" in report


def test_one_seed_is_no_ensemble(said, capsys):
    path = said()
    rows = pd.read_csv(path)
    rows[rows["seed"] == 0].to_csv(path, index=False)
    code, _, err = run(capsys, path, "--average")
    assert code == 2 and "Received: predictions of one seed" in err


def test_the_threshold_is_one_half_and_says_so(said, capsys):
    code, out, _ = run(capsys, said())
    assert code == 0 and "threshold 0.5, fixed" in out and "swapped" not in out


def test_synthetic_images_are_counted(said, test_table, capsys, monkeypatch):
    monkeypatch.setattr(catalogue, "synthetic", lambda name, **_: test_table["filename"].to_numpy()[:2])
    code, out, _ = run(capsys, said())
    assert code == 0 and f"\n2 of {len(test_table)} images are synthetic: " in out


def test_a_difference_has_a_paired_interval(said, test_table, capsys):
    ours = said()
    code, out, _ = run(capsys, ours, "--against", said("flat.csv", probability=0.5))
    auc = np.mean(
        [
            metrics.roc_auc_score(test_table["label"], one["probability"])
            for _, one in pd.read_csv(ours).groupby("seed")
        ]
    )
    assert code == 0 and f"beside flat: AUC {auc - 0.5:+.3f} (" in out
    assert "), these predictions less those of flat (0.500)\n" in out


def test_baselines_are_compared_at_the_same_threshold(said, capsys, monkeypatch):
    """Another threshold on either side would make a difference of accuracies out of nothing."""
    fit, taken = baselines.fit, []
    monkeypatch.setattr(
        baselines,
        "fit",
        lambda *args, threshold=None: taken.append(threshold) or fit(*args, threshold=threshold),
    )
    assert run(capsys, said())[0] == run(capsys, said(), "--threshold", 0.3)[0] == 0
    assert taken == [0.5, 0.3]


@pytest.mark.parametrize(
    ("column", "change", "words"),
    [
        (
            "probability",
            lambda values: values.round(),
            "only 2 distinct values; AUC and other ranking metrics treat them as hard labels.",
        ),
        ("logit", lambda values: values, "if they are probabilities, call the column probability"),
    ],
)
def test_a_column_that_looks_like_something_else_is_warned_of(said, column, change, words, capsys, caplog):
    path = said()
    rows = pd.read_csv(path)
    rows.drop(columns="probability").assign(**{column: change(rows["probability"])}).to_csv(path, index=False)
    assert run(capsys, path)[0] == 0 and words in caplog.text
    caplog.clear()
    rows.drop(columns="probability").assign(logit=rows["probability"] * 8 - 4).to_csv(path, index=False)
    assert run(capsys, path)[0] == 0 and not caplog.text


def test_swapped_labels_are_warned_of(said, capsys):
    path = said()
    rows = pd.read_csv(path)
    rows.assign(probability=1 - rows["probability"]).to_csv(path, index=False)
    code, out, _ = run(capsys, path)
    assert code == 0 and out.splitlines()[-1].startswith("warning: AUC is below 0.5")


def test_a_split_file_gives_the_same_scores(said, tmp_path, capsys):
    splits = tmp_path / "splits.csv.gz"
    assert cli.main(["data", "split", "phantom", "--out", str(splits)]) == 0
    written = capsys.readouterr().out
    by_policy, by_file = (run(capsys, said(), *one)[1].splitlines() for one in ((), ("--splits", splits)))
    assert by_policy[1:] == by_file[1:] and by_policy[1].removeprefix("split ") in written
    assert "grouped split" in by_policy[0] and "file split" in by_file[0]


def test_an_entry_of_the_board_holds_numbers_card_and_predictions(said, tmp_path, capsys):
    board = tmp_path / "board"
    code, out, _ = run(capsys, said(), "--submit", "mine", "--board", board, *CARD)
    entry = json.loads((board / "mine.json").read_text())
    assert code == 0 and entry["card"]["who"] == "A. Doe" and entry["seeds"] == 3
    assert f"AUC                              {entry['metrics']['auc']['value']:.3f}" in out
    again = run(capsys, board / "mine.csv")[1]
    assert again.splitlines()[3:] == out.splitlines()[3:-1], "the predictions beside it give the same numbers"


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"probability": np.nan}, "a number from 0 to 1"),
        ({"probability": 1.5}, "a number from 0 to 1"),
        ({"filename": "none.png"}, "not among those of phantom"),
        ({"seed": 0}, "once a seed"),
    ],
)
def test_bad_predictions_are_one_line_and_write_nothing(said, columns, words, tmp_path, capsys):
    path = said(**columns)
    code, out, error = run(
        capsys, path, "--out", tmp_path / "out", "--submit", "mine", "--board", tmp_path / "board", *CARD
    )
    assert code == 2 and not out and error.count("\n") == 1 and words in error
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_file_of_semicolons_gives_the_same_scores(said, tmp_path, capsys):
    path = said()
    pd.read_csv(path).to_csv(tmp_path / "semicolons.csv", index=False, sep=";")
    assert (
        run(capsys, tmp_path / "semicolons.csv")[1].splitlines()[3:] == run(capsys, path)[1].splitlines()[3:]
    )


def test_behind_folders_of_another_machine_the_longest_name_is_meant():
    known = ["1.png", "a/1.png", "b/c/2.png", "d/2.png"]
    said = scorer._resolved(
        "p.csv", "clinic", ["/elsewhere/a/1.png", "/x/1.png", "b\\c\\2.png", "1.png"], known
    )
    assert list(said.values()) == ["a/1.png", "1.png", "b/c/2.png", "1.png"]
    with pytest.raises(EvaluationError, match="2 images of clinic have"):
        scorer._resolved("p.csv", "clinic", ["2.png"], known)


def test_images_of_training_are_refused(said, capsys):
    path, train = said(), data.load("phantom", "train").table["filename"][0]
    rows = pd.read_csv(path)
    rows.loc[0, "filename"] = train
    rows.to_csv(path, index=False)
    code, _, error = run(capsys, path)
    assert code == 2 and "which is in train" in error and error.count("\n") == 1


def test_another_split_than_a_published_one_is_not_for_the_board(said, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(layout, "DIGESTS", {"grouped": "0" * 64}, raising=False)
    code, out, _ = run(capsys, said())
    assert code == 0 and "none of the published ones (grouped)" in out
    submit = [said(), "--submit", "mine", "--board", tmp_path / "board", *CARD]
    code, _, error = run(capsys, *submit)
    assert code == 2 and "Received: digest" in error and error.count("\n") == 1
    assert not (tmp_path / "board").exists()
    splits = {name: data.load("phantom", name) for name in ("train", "validation", "test")}
    digest = split_files.digest(split_files.text(split_files.table("phantom", splits)))
    monkeypatch.setattr(layout, "DIGESTS", {"grouped": digest})
    assert run(capsys, *submit)[0] == 0 and (tmp_path / "board" / "mine.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--submit", "mine"], "who made it: give it"),
        (["--submit", "../mine", *CARD], "A name on the board"),
        (["--submit", "mine", *CARD[:-1], "\x1b[2J"], "can be printed"),
        (["--who", "me"], "--who goes with --submit"),
        (["--threshold", "1.5"], "from 0 to 1. Received: 1.5"),
        (["--policy", "lucky"], "No such split policy"),
    ],
)
def test_bad_options_are_one_line(said, arguments, words, capsys):
    code, out, error = run(capsys, said(), *arguments)
    assert code == 2 and not out and words in error and error.count("\n") == 1


def test_own_x_rays_are_not_for_the_board(said, tmp_path, capsys):
    root = tmp_path / "hands"
    for number in range(40):
        folder = root / ("healthy" if number % 2 else "fractured")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16), np.uint8)
        (folder / f"{number}.png").write_bytes(data.decoding.encode_png(pixels))
    table = data.load(str(root), "test").table
    path = tmp_path / "mine.csv"
    pd.DataFrame({"filename": table["filename"], "logit": 1.0 * table["label"]}).to_csv(path, index=False)
    command = ["score", str(path), "--data", str(root)]
    assert cli.main(command) == 0 and "AUC                              1.000" in capsys.readouterr().out
    assert cli.main([*command, "--submit", "mine", "--board", str(tmp_path / "board"), *CARD]) == 2
    assert "The board is of published data sets" in capsys.readouterr().err
