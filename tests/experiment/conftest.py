"""Fixtures of the tests of papers, which experiments need too."""

from tests.papers.conftest import few_phantoms

__all__ = ["few_phantoms"]
