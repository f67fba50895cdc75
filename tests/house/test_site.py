"""The site is of what is there, and its links lead somewhere. `nox -s docs` says what it lacks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import m25

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {str(path.relative_to(DOCS)): path for path in sorted(DOCS.rglob("*.md"))}
LINK = re.compile(r"\[[^]]*\]\((?P<path>[^)#:\s]*)(?:#(?P<anchor>[^)\s]*))?\)")
PROGRAM = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
#: Of programs, and of what is printed, nothing is a link.
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)


def anchors_of(page: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    text = PROGRAM.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in headings}


def test_every_chapter_has_pages_that_are_there() -> None:
    trees = re.findall(r"```\{toctree\}\n(.*?)```", PAGES["index.md"].read_text(), re.DOTALL)
    listed = [
        f"{name}.md" for tree in trees for name in re.findall(r"^[a-z/-]+$", tree, re.MULTILINE)
    ]
    assert len(listed) > 20
    assert sorted(set(listed)) == sorted(listed)
    assert set(listed) <= set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_a_pages_links_lead_to_pages_and_headings(name: str) -> None:
    page = PAGES[name]
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    wrong = []
    for link in LINK.finditer(text):
        target = page.parent / link["path"] if link["path"] else page
        is_there = target.exists()
        if is_there and link["anchor"] and target.suffix == ".md":
            is_there = link["anchor"] in anchors_of(target)
        if not is_there:
            wrong.append(link[0])
    assert wrong == []


def test_the_reference_is_of_names_that_are_there() -> None:
    text = "".join(path.read_text() for name, path in PAGES.items() if name.startswith("reference"))
    documented = set(re.findall(r":: m25\.(\w+)$", text, re.MULTILINE))
    assert documented <= {*m25.__all__, "django", "embedded", "instrumentation", "testing"}
