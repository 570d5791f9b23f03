"""How Sphinx builds the docs: `make docs`, from the repository's root, so that links work on a code host too."""

import inspect
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras_fracture  # noqa: E402 before TensorFlow, which the pages of the API import

project = "keras_fracture"
author = "The keras_fracture developers"
project_copyright = author
version = release = keras_fracture.__version__
root_doc = "docs/index"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
]
include_patterns = [
    "docs/**",
    "notebooks/*.ipynb",
    "*/README.md",
    "saved_models/*/*/model_card.md",
    "examples/cluster/README.md",
    "examples/distributed/README.md",
    "BENCHMARKS.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "RELIABILITY.md",
    "SECURITY.md",
]
exclude_patterns = ["docs/_build", "build", "dist", "runs", ".venv", ".pytest_cache", "tests/README.md"]

html_theme = "pydata_sphinx_theme"
html_title = "keras_fracture"
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
    "show_prev_next": False,
}
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_extra_path = ["_extra"]
html_show_sourcelink = False

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
default_role = "literal"  # what stands in single backticks in docstrings
nb_execution_mode = "off"  # as they were run and looked at, see notebooks/README.md
nb_merge_streams = True
suppress_warnings = ["mystnb.unknown_mime_type"]  # of progress bars
copybutton_prompt_text = "$ "

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_inherit_docstrings = False  # of Keras, whose docstrings are in another language
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# Other projects' lists of names lie on their sites: a builder without a network does without them.
if os.environ.get("DOCS_ONLINE"):
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "pandas": ("https://pandas.pydata.org/docs", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
    }


_FIELD = re.compile(r"(Source|Inputs?|Outputs?|Input and output): ")


def _as_fields(app, what, name, subject, options, lines):
    """Where a docstring says `Source:`, `Input:` or `Output:`, each becomes a field of its own."""
    made, inside = [], False
    for line in lines:
        if _FIELD.match(line):
            made += [*([] if inside else [""]), ":" + line.replace(": ", ":\n", 1).split("\n")[0]]
            made.append("    " + line.split(": ", 1)[1])
            inside = True
        elif inside and line.strip():
            made.append("    " + line.strip())
        else:
            made.append(line)
            inside = False
    lines[:] = made


def _own_signature(app, what, name, subject, options, signature, return_annotation):
    """A Keras layer's own arguments; Keras's `__new__` takes whatever there is."""
    if what == "class" and signature == "(*args, **kwargs)":
        own = inspect.signature(subject.__init__)
        own = own.replace(parameters=list(own.parameters.values())[1:])
        return str(own), return_annotation
    return None


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", _own_signature)
    app.connect("autodoc-process-docstring", _as_fields, priority=400)  # before napoleon
