"""Fixtures shared by the tests of reports."""

import pytest

from keras_fracture.report import figures


@pytest.fixture
def drawn(monkeypatch):
    """Figures as they are saved."""
    saved = []

    def save(figure, path):
        saved.append(figure)
        figure.savefig(path)
        return path

    monkeypatch.setattr(figures, "save", save)
    return saved
