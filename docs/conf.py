"""Configuration of the documentation: MyST pages, docstrings by autodoc, the furo theme."""

import bayessoft

project = "bayessoft"
author = "The bayessoft developers"
copyright = "The bayessoft developers"
version = release = bayessoft.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"bayessoft {release}"

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the numpydoc sections state types, shapes and units
autosummary_generate = False
napoleon_google_docstring = False
napoleon_use_rtype = False

# scikit-learn adds these to every estimator; their docstrings refer to labels of its own user guide.
METADATA_REQUESTS = {
    f"set_{method}_request" for method in ("fit", "partial_fit", "predict", "predict_proba", "score", "transform")
}


def skip_metadata_requests(app, what, name, obj, skip, options):
    """Leave scikit-learn's generated ``set_*_request`` methods out."""
    return True if name in METADATA_REQUESTS else None


def setup(app):
    """Register the hook above."""
    app.connect("autodoc-skip-member", skip_metadata_requests)
