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
numpydoc_show_class_members = False
# Faults of docstrings that end the build: parameters or returned values that are not told of.
numpydoc_validation_checks = {"PR01", "PR02", "PR03", "RT01"}
# Enumerations, and records whose fields are attributes.
numpydoc_validation_exclude = {
    "Origin$",
    "DatasetStatistics$",
    "NextItemNetwork$",
    "PairedBootstrap$",
    "RegenerationReport$",
    "WeightSummary$",
}
autodoc_default_options = {
    "members": True,
    # All but those of scikit-learn, of torch and of Python, which are many and documented there.
    "inherited-members": "BaseEstimator, MetaEstimatorMixin, TransformerMixin, Module, BaseException, int, tuple",
    "show-inheritance": True,
    "member-order": "bysource",
}
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


def skip_what_scikit_learn_adds(app, what, name, obj, skip, options):
    """scikit-learn gives every estimator methods for metadata routing and output, and documents them itself."""
    added = name in ("get_metadata_routing", "set_output") or (name.startswith("set_") and name.endswith("_request"))
    return skip or added


def setup(app):
    app.connect("autodoc-skip-member", skip_what_scikit_learn_adds)
