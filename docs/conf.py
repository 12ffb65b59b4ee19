"""Configuration of the documentation; build it with ``nox -s docs``."""

from __future__ import annotations

import seqregen

project = "seqregen"
author = "The seqregen developers"
copyright = "2026, The seqregen developers"
version = release = seqregen.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "myst_parser",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
html_theme = "alabaster"
html_theme_options = {"description": seqregen.__doc__.strip().splitlines()[0], "page_width": "1100px"}

autosummary_generate = True
# scikit-learn's inherited methods are many and documented there.
numpydoc_show_class_members = False
autodoc_default_options = {"members": True, "inherited-members": False, "member-order": "bysource"}
autodoc_typehints = "none"

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "examples",
    # Every example is run, not only those named plot_*; they print and draw nothing.
    "filename_pattern": r"\.py$",
    "image_scrapers": (),
    "reset_modules": (),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
}


def skip_metadata_requests(app, what, name, obj, skip, options):
    """scikit-learn generates ``set_*_request`` for every estimator and documents them itself."""
    return skip or (name.startswith("set_") and name.endswith("_request"))


def setup(app):
    app.connect("autodoc-skip-member", skip_metadata_requests)
