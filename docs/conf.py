"""How Sphinx makes the book out of the pages in this directory."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.util.nodes import make_refnode

sys.path.insert(0, str(Path(__file__).parents[1]))

from session_middleware import __version__

if TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "session_middleware"
copyright = "the authors of session_middleware"  # noqa: A001  # Sphinx wants this name
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
nitpicky = True
# Of the standard library, the frameworks and the drivers: the book is made without a network, so it has no index of theirs.
nitpick_ignore_regex = [
    ("py:.*", rf"({top})\..*")
    for top in (
        "bottle",
        "collections",
        "datetime",
        "django",
        "flask",
        "opentelemetry",
        "os",
        "prometheus_client",
        "pyramid",
        "redis",
        "sqlalchemy",
        "typing",
    )
] + [
    ("py:class", "WSGI.*|Engine"),  # the same, under the names that they have while types are checked
    ("py:class", r"session_middleware\..*\.(Binding|CarryOver|Default|[ST])"),  # in signatures; nobody makes one
]

smartquotes = False  # messages are quoted as they are

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"

html_theme = "furo"
html_title = "session_middleware"
html_favicon = "../examples/lab/static/icon.svg"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["book.css"]


def setup(app: "Sphinx") -> None:
    app.connect("missing-reference", _to_the_package)
    app.connect("html-page-context", _say_the_language)


def _to_the_package(app: "Sphinx", env: "BuildEnvironment", node: "pending_xref", content: Any) -> Any:
    """Find a public name of the package that a docstring, or a type, names otherwise: without its module, or with it."""
    if node.get("refdomain") != "py":
        return None
    domain: Any = env.domains.python_domain
    target = str(node["reftarget"])
    for name in (target, target.rpartition(".")[2]):
        if found := domain.objects.get(f"session_middleware.{name}"):
            return make_refnode(app.builder, node["refdoc"], found.docname, found.node_id, content)
    return None


def _say_the_language(app: "Sphinx", pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """A page whose name ends so is in Korean, for fonts, and for what reads it aloud."""
    if pagename.endswith(".ko"):
        context["language"] = "ko"
