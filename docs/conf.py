"""The site: `nox -s docs` builds it from the pages of this folder, and the docstrings."""

from __future__ import annotations

import re
from typing import Any, Final

from pygments.lexers.sql import PostgresLexer
from sphinx.util import logging

import m25

project = "m25"
author = "The m25 authors"
copyright = author  # noqa: A001 - Sphinx's name for it

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinxcontrib.mermaid",
    "sphinxcontrib_trio",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "m25"
html_copy_source = False

#: Headings are linked to by what GitHub makes of them, and so the pages' links lead there, too.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
#: GitHub draws them, and so does the site.
myst_fence_as_directive = ["mermaid"]

#: In docstrings `one` is code, as in these pages.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"undoc-members": True}
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False

#: Public names of types, and of what has a page of its own.
_WITHOUT_ENTRY: Final = {"QueueOptions", "RetryDecision", "errors", "pg", "sync"}


def _mark_programs(
    _app: object, _what: str, _name: str, _of: object, _options: object, lines: list[str]
) -> None:
    """Say of what is indented in a docstring that it is a program, as Markdown has it."""
    marked: list[str] = []
    is_program = False
    for number, line in enumerate(lines):
        if line.strip() and not line.startswith(" "):
            is_program = False
        before = lines[number - 1] if number else ""
        if line.startswith("    ") and not before.strip() and not is_program:
            is_program = True
            marked += [".. code-block:: python", ""]
        marked.append(line)
    lines[:] = marked


#: The README's, and those of the pages.
_LINK_TO_EXAMPLE: Final = re.compile(r"\[([^]]*)\]\((?:\.\./)?examples[^)]*\)")


def _stay_in_the_site(_app: object, _page: str, text: list[str]) -> None:
    """The README is a page of the site, by another name; of the examples it has only the names."""
    text[0] = _LINK_TO_EXAMPLE.sub(r"\1", text[0].replace("](../README.md", "](overview.md"))


def _include(app: Any, _path: object, page: str, text: list[str]) -> None:
    _stay_in_the_site(app, page, text)


def _miss_names(_app: object, env: Any) -> None:
    """Say which public names the reference lacks."""
    documented = env.get_domain("py").objects
    for name in sorted(set(m25.__all__) - _WITHOUT_ENTRY):
        if f"m25.{name}" not in documented and f"m25.errors.{name}" not in documented:
            logging.getLogger(__name__).warning("m25.%s is not in docs/reference", name)


def setup(app: Any) -> None:
    """Have docstrings read as they are written, and fences by what is in them."""
    # After napoleon, which has made field lists of `Args` and `Raises`.
    app.connect("autodoc-process-docstring", _mark_programs, priority=900)
    app.connect("source-read", _stay_in_the_site)
    app.connect("include-read", _include)
    app.connect("env-check-consistency", _miss_names)
    app.add_lexer("sql", PostgresLexer)
