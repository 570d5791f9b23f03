"""Which names of labels and folders mean a finding, healthy, or a split."""

import unicodedata

import pytest

from keras_fracture.data.own import folders, labels
from keras_fracture.errors import DataError


@pytest.mark.parametrize(
    ("names", "finding"),
    [
        (("normal", "Fractured"), "Fractured"),
        (("not fractured", "fractured"), "fractured"),
        (("Non_fractured", "Fractured"), "Fractured"),
        (("no_tumor", "tumor"), "tumor"),
        (("0", "1"), "1"),
        (("0.0", "1.0"), "1.0"),
        (("unfractured", "bone fracture"), "bone fracture"),
        (("normal", "abnormal"), "abnormal"),
        (("False", "True"), "True"),
        (("not a fracture", "fracture"), "fracture"),
        (("non fractured", "fractured"), "fractured"),
    ],
)
def test_usual_names_tell_the_finding(names, finding):
    assert labels.binary(names, None, "here") == {name: int(name == finding) for name in names}


def test_a_kind_of_finding_is_not_taken_for_healthy_and_case_makes_no_second_label():
    with pytest.raises(DataError, match="names do not tell the finding"):
        labels.binary(("fracture", "non-displaced fracture"), None, "here")
    told = labels.binary(("fracture", "Fracture", "healthy"), "fracture", "here")
    assert told == {"fracture": 1, "Fracture": 1, "healthy": 0}
    with pytest.raises(DataError, match="one class alone"):
        labels.binary(("fracture", "Fracture"), "fracture", "here")


def test_a_name_in_two_spellings_is_one_label():
    parted = unicodedata.normalize("NFD", "Läsion")
    assert parted != "Läsion"
    told = labels.binary(("Läsion", parted, "normal"), "läsion", "here")
    assert told == {"Läsion": 1, parted: 1, "normal": 0}
    tumours = ("bone tumour", "bone  tumour", "Bone\xa0tumour")
    assert labels.binary((*tumours, "normal"), "bone tumour", "here") == dict.fromkeys(tumours, 1) | {
        "normal": 0
    }
    assert labels.binary(("0", "1", "1.0", "2"), "1", "here") == {"0": 0, "1": 1, "1.0": 1, "2": 0}


def test_which_folders_are_splits_and_which_are_classes():
    both = folders.splits_and_classes
    parted = unicodedata.normalize("NFD", "Läsion")
    assert both([f"{parted}/1.png", "Läsion/2.png", "b/3.png"])[1] == ["Läsion", "Läsion", "b"]
    assert both(["a/x.png", "b/c/y.png", "z.png"]) == ([""] * 3, ["a", "b", ""])
    assert both(["all/Train/a/1.png", "all/valid/b/2.png"]) == (["train", "val"], ["a", "b"])
    assert both(["train/images/1.png", "test/images/2.png"]) == (["train", "test"], ["", ""])
    assert both(["train/a/1.png", "train/b/2.png"]) == (["", ""], ["a", "b"])
