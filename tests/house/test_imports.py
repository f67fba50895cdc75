"""The house of docs/architecture.md is that of `src`: its floors, who imports whom, its files."""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "m25"
FILES = {str(path.relative_to(SRC)): path for path in sorted(SRC.rglob("*.py"))}
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

_ROW = re.compile(r"^\| (?P<floor>[\w ]+) \| `(?P<room>[\w./]+)` \| \S", re.MULTILINE)

#: Libraries of their own, and what they may import of m25 all the same.
LIBRARIES = {"pg/": (), "embedded/": ("_errors.py",)}

LONGEST_FILE = 400

NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc"}


class Import(NamedTuple):
    """A module of m25 that a file imports."""

    file: str
    line: int
    imported: str
    only_for_types: bool


def rooms() -> Mapping[str, int]:
    """The rooms of the page's table, each with the number of its floor, counted from the top."""
    rows = _ROW.findall(PAGE)
    floors = list(dict.fromkeys(floor for floor, _ in rows))
    return {room: floors.index(floor) for floor, room in rows}


ROOMS = rooms()


def room_of(file: str) -> str:
    """The room that a file is, or is in; empty if there is none."""
    folder, slash, _ = file.partition("/")
    room = folder + slash
    return room if room in ROOMS else ""


def module_file(module: str) -> str | None:
    """The file of a module, named as in `import m25.pg`; `None` for a name in a module."""
    path = "/".join(module.split(".")[1:])
    candidates = (f"{path}.py", f"{path}/__init__.py".removeprefix("/"))
    return next((each for each in candidates if each in FILES), None)


def imports_of(file: str, text: str) -> Iterator[Import]:
    """The modules of m25 that a file imports, wherever in the file."""
    package = ["m25", *Path(file).parent.parts]

    def visit(node: ast.AST, only_for_types: bool) -> Iterator[Import]:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, node.module] if node.module else above)
            # What is imported is a module itself, or a name in the module `base`.
            names = [
                name if module_file(name := f"{base}.{alias.name}") else base
                for alias in node.names
            ]
        for name in names:
            if name.partition(".")[0] == "m25":
                imported = module_file(name)
                assert imported, f"{file}:{node.lineno} imports {name}, and there is no such module"
                yield Import(file, node.lineno, imported, only_for_types)
        for child in ast.iter_child_nodes(node):
            in_body = isinstance(node, ast.If) and child in node.body
            yield from visit(
                child, only_for_types or (in_body and ast.unparse(node.test) == "TYPE_CHECKING")
            )

    yield from visit(ast.parse(text), False)


@cache
def all_imports() -> Sequence[Import]:
    # Read by the tests and not with this module, which each process of pytest imports.
    return [each for file, path in FILES.items() for each in imports_of(file, path.read_text())]


def upwards(imports: Sequence[Import]) -> list[Import]:
    """The imports from a floor above; those for types alone are free."""
    return [
        each
        for each in imports
        if not each.only_for_types and ROOMS[room_of(each.imported)] < ROOMS[room_of(each.file)]
    ]


def circle(imports: Sequence[Import]) -> list[str]:
    """Files that import each other in a circle, if there are any."""
    graph: dict[str, set[str]] = {}
    for each in imports:
        if not each.only_for_types:
            graph.setdefault(each.file, set()).add(each.imported)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_every_file_is_in_one_room_and_every_room_is_there() -> None:
    assert [file for file in FILES if not room_of(file)] == []
    assert set(ROOMS) == {room_of(file) for file in FILES}


def test_imports_go_downwards() -> None:
    assert upwards(all_imports()) == []


def test_floors_import_from_those_that_the_page_says() -> None:
    floors = list(dict.fromkeys(floor for floor, _ in _ROW.findall(PAGE)))
    found: dict[str, set[str]] = {floor: set() for floor in floors}
    for each in all_imports():
        above, below = ROOMS[room_of(each.file)], ROOMS[room_of(each.imported)]
        if above != below and not each.only_for_types:
            found[floors[above]].add(floors[below])
    written = {
        floor: set(below.split(", ")) - {""}
        for floor, below in re.findall(r"^(\w+) +→ *(.*)$", PAGE, re.MULTILINE)
    }
    assert written == found


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circle(all_imports()) == []


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_stands_alone(library: str) -> None:
    allowed = LIBRARIES[library]
    assert [
        each
        for each in all_imports()
        if each.file.startswith(library)
        and not each.imported.startswith(library)
        and each.imported not in allowed
    ] == []


@pytest.mark.parametrize("folder", ["src", "tools", "benchmarks", "examples"])
def test_a_file_is_short_or_its_first_line_says_why_not(folder: str) -> None:
    long = {}
    for path in (ROOT / folder).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        first_line = text.partition("\n")[0]
        if text.count("\n") > LONGEST_FILE and not re.search(r"\b(because|since)\b", first_line):
            long[str(path.relative_to(ROOT))] = text.count("\n")
    assert long == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    parts = {file: Path(file).with_suffix("").parts for file in FILES}
    assert [
        file
        for file, names in parts.items()
        if NAMES_THAT_SAY_NOTHING.intersection(name.strip("_") for name in names)
    ] == []


@pytest.mark.parametrize("file", ["_services.py", "_worker/manager.py"])
def test_the_trees_of_the_page_are_those_of_the_code(file: str) -> None:
    docstring = ast.get_docstring(ast.parse(FILES[file].read_text()))
    assert docstring
    (tree,) = (part for part in docstring.split("\n\n") if "└─" in part)
    assert tree in PAGE


# The checks themselves


def test_an_import_from_a_floor_above_is_found() -> None:
    (wrong,) = upwards(list(imports_of("_store/steps.py", "from .._client import M25\n")))
    assert (wrong.file, wrong.line, wrong.imported) == ("_store/steps.py", 1, "_client.py")


def test_imports_are_found_wherever_and_however_they_are_written() -> None:
    text = """
import m25.pg
from .. import embedded
from . import plan
if TYPE_CHECKING:
    from .executor import Executor
else:
    import m25
def late() -> None:
    from m25._store.protocol import Store
"""
    found = [(each.imported, each.only_for_types) for each in imports_of("_worker/ledger.py", text)]
    assert found == [
        ("pg/__init__.py", False),
        ("embedded/__init__.py", False),
        ("_worker/plan.py", False),
        ("_worker/executor.py", True),
        ("__init__.py", False),
        ("_store/protocol.py", False),
    ]


def test_a_circle_is_found_unless_it_is_one_of_types_alone() -> None:
    there = Import("_job.py", 1, "_errors.py", False)
    back = Import("_errors.py", 1, "_job.py", False)
    assert set(circle([there, back])) == {"_job.py", "_errors.py"}
    assert circle([there, back._replace(only_for_types=True)]) == []
