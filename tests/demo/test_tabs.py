"""What the tabs compute and show, without a browser."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from keras_fracture.data import decoding, phantom, phantom_anatomy, phantom_findings
from keras_fracture.demo import drawing, fooling, leaking, painting, phantoms, reading, showing
from keras_fracture.demo.shelf import Shelf
from keras_fracture.errors import ImageError, ModelError
from keras_fracture.inference import generating, predict
from tests.data.own import dicom
from tests.demo.hostile import UPLOADS


def test_a_shelf_knows_what_models_are_for_and_loads_nothing(folder, monkeypatch):
    monkeypatch.setattr("keras_fracture.serving.versions.loaded", None)
    shelf = Shelf([folder])
    assert (shelf.classifiers, shelf.generators, shelf.painters) == (["cnn"], ["gan"], ["unit"])
    assert (shelf.data("gan"), shelf.classes("gan"), shelf.side("cnn")) == (
        "phantom",
        ["healthy", "finding"],
        32,
    )
    with pytest.raises(ModelError, match=r"Choose one of cnn\. Received: 'gan'"):
        shelf.reader("gan")


def test_limbs_to_paint_into_are_held_out():
    trained_on = {
        one.index for one in phantom.plan(0, 6000)
    }  # by `unit_phantom`, see scripts/train_translator.py
    healthy = phantoms.healthy()
    assert len(healthy) == 12 and {one.finding for one in healthy.values()} == {"none"}
    assert trained_on.isdisjoint(one.index for one in healthy.values())


def test_without_a_classifier_the_page_says_how_to_get_one(shelf, monkeypatch):
    shown = []
    monkeypatch.setattr(shelf, "classifiers", [])
    reading.tab(SimpleNamespace(HTML=lambda text, **_: shown.append(text)), shelf)
    (text,) = shown
    assert "No classifier is here" in text and "reproduce lisbon_resnet" in text


def test_the_best_shipped_classifier_comes_first():
    shelf = Shelf()
    index = json.loads(
        (Path(__file__).parents[2] / "saved_models" / "index.json").read_text(encoding="utf-8")
    )["models"]
    by_auc = [index[name]["metrics"]["auc"]["value"] for name in shelf.classifiers]
    assert by_auc == sorted(by_auc, reverse=True) and len(set(by_auc)) == len(by_auc) > 1
    assert "dcgan_generator" in shelf.generators


# Read an X-ray


@pytest.mark.parametrize("kind", UPLOADS)
def test_hostile_uploads_are_refused_in_one_line(kind, shelf):
    name, data, words = UPLOADS[kind]
    shown = showing.safely(reading.answer, shelf, "cnn", None, data, name)
    assert shown.startswith('<p class="kf-error" role=alert>') and shown.count("<") == 2
    assert words in shown and name in shown and "Traceback" not in shown


def test_an_upload_over_the_limit_is_not_decoded(monkeypatch):
    monkeypatch.setattr(decoding, "decode", None)
    with pytest.raises(ImageError, match="20,971,520 bytes at most"):
        reading.checked(b"\xff" * (20 * 2**20 + 1))


def test_what_nobody_expected_is_one_line_too(caplog):
    with caplog.at_level(logging.CRITICAL):
        shown = showing.safely(lambda: 1 / 0)
    assert (
        shown == '<p class="kf-error" role=alert>That did not work. ZeroDivisionError: division by zero</p>'
    )


def test_names_of_files_are_no_html(shelf):
    shown = showing.safely(reading.answer, shelf, "cnn", None, b"text", "<img src=x onerror=alert(1)>.png")
    assert "<img" not in shown and "&lt;img" in shown


def test_the_probability_is_that_of_predict(shelf, folder, tmp_path):
    image = phantoms.drawn(phantoms.choices()[phantoms.SHOWN_FIRST])["image"][..., 0]
    (tmp_path / "hand.png").write_bytes(decoding.encode_png(image))
    ((_, (expected,)),) = predict(folder / "cnn", [tmp_path / "hand.png"])
    found = reading.read(image, shelf.reader("cnn"))
    assert found.probability == pytest.approx(expected, abs=1e-6)
    assert (found.threshold, found.chosen, found.finding) == (0.25, "fixed beforehand", expected >= 0.25)
    assert found.gradcam.shape == found.occlusion.shape == found.image.shape == image.shape
    assert found.gradcam.max() <= expected + 1e-6 and found.boxes is None


def test_a_dicom_file_is_read_as_its_png(shelf):
    pytest.importorskip("pydicom")
    image = phantoms.drawn(phantoms.choices()[phantoms.SHOWN_FIRST], 64)["image"][..., 0]
    pages = [
        reading.answer(shelf, "cnn", None, data, "hand")
        for data in (dicom(image, 8), decoding.encode_png(image))
    ]
    assert pages[0] == pages[1] and "Not for clinical use" in pages[0]


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize("shape", [(60, 100), (100, 60)])
def test_heat_lies_over_the_place_that_the_network_saw(shape, crop):
    image = np.zeros(shape, np.uint8)
    image[25:35, 40:50] = 255  # inside the middle square of both shapes
    square = (decoding.resize_and_crop if crop else decoding.fit_and_pad)(image, 50)
    heat = reading.unfitted(square / 255, shape, crop)
    assert heat.shape == shape
    rows, columns = (
        weights @ np.arange(len(weights)) / weights.sum() for weights in (heat.sum(1), heat.sum(0))
    )
    assert (rows, columns) == (pytest.approx(29.5, abs=1), pytest.approx(44.5, abs=1))


def _reading(**changed):
    blank = np.zeros((40, 40), np.float32)
    given = {"probability": 0.7, "threshold": 0.5, "chosen": None, "gradcam": blank, "occlusion": blank}
    return reading.Reading(**given | {"image": np.uint8(blank), "inverted": False, "boxes": None} | changed)


def test_the_verdict_is_the_models_at_its_threshold():
    at, below = (_reading(probability=one, chosen="by hand") for one in (0.5, 0.4999))
    assert (
        reading.verdict(at)
        == "A finding: the probability 0.500 reaches the model's threshold 0.500 (by hand)."
    )
    assert reading.verdict(below).startswith("No finding: the probability 0.500 stays below")


def test_both_explanations_have_one_scale_and_nothing_is_called_nothing(shelf):
    hot = np.zeros((40, 40), np.float32)
    hot[:20] = 0.6
    page = reading.page(_reading(gradcam=hot, occlusion=hot / 20), shelf.reader("cnn"))
    assert "<span>0.60</span>" in page and page.count("No evidence of a finding") == 1
    assert page.index("No evidence") > page.index("Occlusion")
    assert "looks inverted" in reading.page(_reading(inverted=True), shelf.reader("cnn"))


def test_every_finding_and_every_limb_can_be_picked():
    findings = {one.finding for one in phantoms.choices().values()}
    assert findings == {"none", *phantom_findings.KINDS}
    healthy = {one.body_part for one in phantoms.choices().values() if one.finding == "none"}
    assert healthy == set(phantom_anatomy.PARTS) and phantoms.SHOWN_FIRST in phantoms.choices()


# Draw X-rays


def test_a_seed_draws_what_generate_draws(shelf, folder):
    source = shelf.generator("gan")
    drawn = drawing.draw(source, drawing.noise(source, 5)[None], "finding")
    (expected,) = generating.draw(generating.load(folder / "gan"), 1, 5, np.array([1]))
    np.testing.assert_array_equal(drawn[0], expected)


def test_the_way_between_two_seeds_keeps_the_length_of_noise():
    start, stop = np.eye(2, 50, dtype="float32") * 7
    assert np.linalg.norm(drawing.between(start, stop, 0.5)) == pytest.approx(7)
    np.testing.assert_allclose(drawing.between(start, stop, 0), start, atol=1e-6)
    np.testing.assert_allclose(drawing.between(start, stop, 1), stop, atol=1e-6)
    np.testing.assert_array_equal(drawing.between(start, start, 0.3), start)


def test_truncation_draws_noise_to_its_mean(shelf):
    source = shelf.generator("gan")
    whole, half, none = (drawing.noise(source, 3, share) for share in (1, 0.5, 0))
    np.testing.assert_allclose(half, whole / 2)
    assert not none.any() and len(drawing.draw(source, np.stack([whole] * 65))) == 65


def test_a_copy_of_a_phantom_is_found_and_called_one():
    known = phantoms.images(32, 0, 24)[0]
    found = drawing.nearest(known[7][:, ::-1], (0, 24), (24, 40))  # mirrored
    assert found.distance == 0 and found.distance <= found.limit and found.searched == len(known)
    np.testing.assert_array_equal(found.image, known[7])
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 1), "uint8")
    assert drawing.nearest(noise, (0, 24), (24, 40)).distance > found.limit


def test_the_page_of_drawings_names_seeds_and_class(shelf):
    page = drawing.page(shelf, "gan", "healthy", (1, 2), 0.8, 0.25)
    assert "Seed 1" in page and "25 % of the way" in page and page.count("<img") == 3 + drawing.STEPS
    shown = showing.safely(drawing.page, shelf, "gan", "broken", (1, 2), 0.8, 0.25)
    assert "no such class" in shown


# Paint a lesion


@pytest.mark.parametrize("place", [(0.5, 0.5, 0.3), (0, 1, 0.7), (1, 0, 0.15), (0.5, 0.5, 5)])
def test_a_window_lies_in_its_image(place):
    top, left, height, width = painting.window(*place)
    assert 8 <= height == width and min(top, left) >= 0 and max(top, left) + height <= painting.SIDE


@pytest.mark.parametrize("painter", ["unit", painting.COPY_PASTE])
def test_paint_stays_in_its_window_and_fades_to_its_edge(shelf, painter):
    image = phantoms.drawn(phantoms.healthy()["humerus 2"], painting.SIDE)["image"]
    place = painting.window(0.5, 0.45, 0.35)
    painted = painting.paint(
        image, place, painting.copying(0) if painter != "unit" else shelf.painter("unit"), 2.0
    )
    top, left, height, width = place
    outside = np.ones(image.shape, bool)
    outside[top : top + height, left : left + width] = False
    for made in (painted.translated, painted.blended):
        np.testing.assert_array_equal(made[outside], image[outside])
        assert (made != image).any()
    np.testing.assert_array_equal(painted.blended[top, left : left + width], image[top, left : left + width])
    middle = top + height // 2, left + width // 2
    assert abs(int(painted.blended[middle][0]) - int(painted.translated[middle][0])) <= 2
    assert painted.difference.max() == np.abs(painted.blended.astype(int) - image).max() > 0


def test_the_best_fitting_lesion_fits_better_than_the_last():
    place = painting.window(0.5, 0.45, 0.35)
    top, left, height, width = place
    edge = np.s_[top : top + height, [left, left + width - 1]]

    def seam(image, rank):
        translated = painting.paint(image, place, painting.copying(rank), 2.0).translated
        return np.abs(translated[edge] - image[edge].astype(int)).mean()

    images = [phantoms.drawn(source, painting.SIDE)["image"] for source in phantoms.healthy().values()]
    best, last = (np.array([seam(image, rank) for image in images]) for rank in (0, 300))
    assert (best < last).all() and best.mean() < 0.75 * last.mean(), (best, last)


def test_the_page_of_paintings_shows_all_stages(shelf):
    for model in ("unit", painting.COPY_PASTE):
        page = painting.page(shelf, model, "femur 1", painting.window(0.5, 0.5, 0.4), 2, 1)
        assert [name in page for name in ("Original", "Translated", "Blended", "Difference")] == [True] * 4


# Would you have been fooled?


def test_a_game_has_five_of_each_and_is_the_same_again(shelf):
    source = shelf.generator("gan")
    game, again, other = (fooling.deal(source, 32, seed) for seed in (3, 3, 4))
    assert game.images.shape == (10, 32, 32, 1) and game.generated.sum() == 5
    np.testing.assert_array_equal(game.images, again.images)
    assert not np.array_equal(game.images, other.images)


def test_scores_count_right_answers_and_the_discriminator_answers_the_same_images(shelf):
    table = fooling.Table(shelf, (400, 440))
    game = table.game("gan", 1)
    some = table.page("gan", 1, [bool(game.generated[0]), not game.generated[1]])
    assert "Image 3 of 10" in some and "Wrong" in some and "Score 1 of 2" in some
    end = table.page("gan", 1, game.generated.tolist())
    # Fog of an untrained generator: anybody can tell.
    assert "You: 10 of 10. The discriminator: 10 of 10" in end and "(wrong)" not in end
    assert "40 other phantoms" in end and "style alone" not in end


def test_a_generator_that_saw_no_phantoms_is_said_to_be_told_by_style(shelf, monkeypatch):
    monkeypatch.setattr(shelf, "data", lambda _: "elsewhere")
    assert "learnt from elsewhere" in fooling.Table(shelf, (400, 440)).page("gan", 1, [True] * 10)


# Is the number real?


@pytest.fixture(scope="module")
def made():
    return leaking.files(limbs=24, copies=4, new=24)


def test_a_share_of_limbs_has_copies_on_both_sides_and_the_sizes_stay(made):
    sizes = set()
    for share in (0, 0.5, 1):
        train, test = leaking.split(made, share)
        assert not set(train) & set(test)
        tested, taught = set(made.limbs[test]), set(made.limbs[train])
        assert len(tested & taught) == share * len(tested) == share * 12
        assert made.labels[test].mean() == 0.5
        sizes.add((len(train), len(test)))
    assert len(sizes) == 1


def test_copies_raise_the_accuracy_by_file_alone(made):
    none, all_ = (leaking.measure("nearest neighbour", share, made) for share in (0, 1))
    assert all_.by_file["value"] > 0.95 > none.by_file["value"] + 0.15
    assert all_.by_source["value"] < 0.8
    assert (made.limbs[all_.tested] == made.limbs[all_.nearest]).all()
    assert not (made.limbs[none.tested] == made.limbs[none.nearest]).any()


def test_the_page_of_the_leak_says_both_numbers(made):
    page = leaking.page("HOG and logistic regression", 1, {0}, made)
    found = leaking.measure("HOG and logistic regression", 1, made)
    for name, score in (("By file", found.by_file), ("By source", found.by_source)):
        assert f"<b>{name}: accuracy {score['value']:.2f}</b>" in page
    assert "promises" in page and "a copy of the same limb" in page
    assert leaking.measure("HOG and logistic regression", 1, made) is found


def test_the_page_of_the_leak_says_no_more_than_its_intervals(made):
    none = leaking.page("HOG and logistic regression", 0, {1}, made)
    assert "by chance alone" in none and "promises" not in none
    low, high = ({"value": value, "low": value - 0.1, "high": value + 0.1} for value in (0.6, 0.7))
    assert "overlap" in leaking._what_it_says(0.5, high, low) and "overlap" in leaking._what_it_says(
        1, low, high
    )
