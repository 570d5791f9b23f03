"""Which images a model is said to have seen."""

import types

import numpy as np
import pandas as pd

from keras_fracture.data import sources
from keras_fracture.experiment.splits import seen_by_training
from keras_fracture.inference import scoring


def test_patients_hashed_on_another_machine_are_not_said_to_be_unseen(monkeypatch):
    """With another salt every hash is another, so that nothing would seem seen."""
    mine, theirs = (f"dicom-{salt * 8}-{'1' * 16}" for salt in "ab")
    sets = dict.fromkeys(("train", "validation"), _images(mine, "p2"))
    facts = seen_by_training("clinic", sets)
    monkeypatch.setattr(scoring, "find", lambda model, which: ("1", facts))
    told = {
        patient: scoring.seen("m", "clinic", pd.DataFrame({"source": [patient], "filename": ["new.png"]}))
        for patient in (mine, theirs)
    }
    assert told[mine].tolist() == [True] and told[theirs] is None
    assert scoring.seen("m", "phantom", pd.DataFrame({"source": ["p2"], "filename": ["0.png"]})).tolist() == [
        False
    ]
    before = dict.fromkeys(sets, _images("dicom-" + "1" * 16))
    earlier = seen_by_training("clinic", before)  # as a version without salts named them
    monkeypatch.setattr(scoring, "find", lambda model, which: ("1", earlier))
    assert scoring.seen("m", "clinic", pd.DataFrame({"source": [mine]})) is None


def _images(*patients):
    """A split with an image of each."""
    table = pd.DataFrame(
        {"source": patients, "filename": [f"{number}.png" for number in range(len(patients))]}
    )
    return types.SimpleNamespace(sources=np.array(patients), table=table)


def test_a_copy_that_gives_an_xray_another_name_does_not_make_it_unseen(monkeypatch):
    """Where pixels alone tell X-rays, each is called by the first of its files."""
    sets = {"train": _images("0.png"), "validation": _images("0.png")}
    monkeypatch.setattr(scoring, "find", lambda model, which: ("1", seen_by_training("clinic", sets)))
    grown = pd.DataFrame(
        {"filename": ["00-copy.png", "0.png", "1.png"], "source": ["00-copy.png"] * 2 + ["1.png"]}
    )
    assert scoring.seen("m", "clinic", grown).tolist() == [True, True, False]


def test_another_view_of_a_study_that_was_trained_on_is_seen(monkeypatch):
    whole = pd.DataFrame({"filename": list("abcdef"), "source": list("aacdef"), "study": list("xyyzzw")})
    sets = {"train": _images("a"), "validation": _images("f")}
    monkeypatch.setattr(scoring, "find", lambda model, which: ("1", seen_by_training("fracatlas", sets)))
    monkeypatch.setattr(scoring.catalogue, "catalogue", lambda *_, **__: types.SimpleNamespace(table=whole))
    monkeypatch.setattr(scoring.catalogue, "usable", lambda table: table)
    rows = whole.iloc[[3, 2, 5]]  # c is in the study of another image of X-ray a
    assert scoring.seen_views("m", "fracatlas", rows).tolist() == [False, True, True]


def test_all_views_that_a_model_of_studies_has_learnt_from_are_seen_where_each_xray_is_a_source(monkeypatch):
    sets = {
        "train": _images("0.png", "0.png"),
        "validation": _images("0.png"),
    }  # a study, named by its first X-ray
    monkeypatch.setattr(scoring, "find", lambda model, which: ("1", seen_by_training("fracatlas", sets)))
    names = ["0.png", "1.png", "2.png"]
    table = pd.DataFrame({"filename": names, "source": names})
    assert scoring.seen("m", "fracatlas", table).tolist() == [True, True, False]


def test_a_table_of_a_split_file_tells_whether_its_sources_are_studies(monkeypatch):
    whole = pd.DataFrame({"filename": list("abcd"), "source": list("abcd"), "study": list("xxyz")})
    monkeypatch.setattr(scoring.catalogue, "catalogue", lambda *_, **__: types.SimpleNamespace(table=whole))
    monkeypatch.setattr(scoring.catalogue, "usable", lambda table: table)
    assert not scoring.are_studies("fracatlas", whole) and not scoring.are_studies("btxrd", whole)
    by_study = whole.assign(source=list("aacd"))
    assert scoring.are_studies("fracatlas", by_study)
    assert scoring.are_studies("fracatlas", by_study.assign(source=list("bbcd"))), (
        "a file that does not name a"
    )
    assert not scoring.are_studies("fracatlas", by_study.iloc[1:]), "X-rays as well"


def test_a_folder_that_was_renamed_is_named(monkeypatch, caplog):
    sets = {"train": _images("p1", "p2", "p3"), "validation": _images("p4")}
    monkeypatch.setattr(scoring, "find", lambda model, which: ("1", seen_by_training("clinic", sets)))
    table = pd.DataFrame({"source": ["p1", "p2", "p9"], "filename": ["0.png", "1.png", "new.png"]})
    assert not scoring.seen("m", "renamed", table).any()
    assert "2 of 3 images are called as those of 'clinic'" in caplog.text
    caplog.clear()
    scoring.seen("m", "other", table.assign(filename=["x.png", "y.png", "1.png"]))  # one name by chance
    assert scoring.seen("m", "clinic", table).tolist() == [True, True, False] and not caplog.text


def test_a_run_says_what_its_models_have_seen():
    sets = {"train": _images("a", "a", "b"), "validation": _images("c"), "test": _images(*"defgh")}
    said = seen_by_training("phantom", sets)["seen_sources"]
    assert said["digests"] == sorted(sources.digests("phantom", ["a", "b", "c"]))
    assert said["images"] == sorted(sources.digests("phantom", ["0.png", "1.png", "2.png"]))
