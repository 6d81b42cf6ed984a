"""How Sphinx makes the book out of the pages in this directory."""

from importlib.metadata import version as version_of

project = "session_middleware"
copyright = "the authors of session_middleware"  # noqa: A001  # Sphinx wants this name
version = release = version_of("session-middleware")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
nitpicky = True

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"

html_theme = "furo"
html_title = "session_middleware"
html_copy_source = False
