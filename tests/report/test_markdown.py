from keras_fracture.report import markdown

SCORE = {"value": 0.8123, "low": 0.79, "high": 0.8312}


def test_scores_are_printed_with_their_interval():
    assert markdown.percent(SCORE) == "81.2 (79.0 to 83.1)"
    assert markdown.percent(SCORE, signed=True) == "+81.2 (+79.0 to +83.1)"
    assert markdown.decimal(SCORE) == "0.812 (0.790 to 0.831)"


def test_a_number_has_its_noun():
    assert [markdown.counted(number, "seed") for number in (1, 3, 1200)] == [
        "1 seed",
        "3 seeds",
        "1,200 seeds",
    ]


def test_cells_stand_as_they_are():
    table = markdown.markdown(["model", "images/s"], [["dcgan", "3,880.0"], ["unit", 2]])
    assert table == "| model | images/s |\n| --- | --- |\n| dcgan | 3,880.0 |\n| unit | 2 |\n"


def test_figures_are_numbered_in_order():
    figures, others = markdown.Figures(), markdown.Figures()
    assert figures.add("a.png", "Losses.") == "![Figure 1. Losses.](a.png)\n"
    assert figures.add("b/c.png", "Images of [x].") == "![Figure 2. Images of \\[x\\].](b/c.png)\n"
    assert others.add("a.png", "Losses.").startswith("![Figure 1.")


def test_numbers_from_before_the_mend_are_marked():
    assert markdown.dated({"date": "2026-11-24"}) == "2026-11-24, *before the mend*"
    assert markdown.dated({"date": markdown.MENDED}) == markdown.MENDED
