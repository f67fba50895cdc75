"""A queue's options are the same wherever they are written: `Queue`, `@queue`, the README."""

from __future__ import annotations

import re
from pathlib import Path

import attrs

from m25 import Queue, QueueOptions

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
OPTIONS = {field.name for field in attrs.fields(Queue) if field.init}


def test_the_decorator_takes_every_option() -> None:
    #: Parameters of `queue` itself, since they decide its types; and what it decorates.
    others = {"name", "errors", "batch", "handler_function"}
    assert set(QueueOptions.__annotations__) == OPTIONS - others


def test_the_readme_lists_every_option() -> None:
    (_, table) = README.split("## Options of a queue")
    names = [row.partition(" | ")[0] for row in re.findall(r"^\| (`.*)", table, re.MULTILINE)]
    listed = {name for names_of_row in names for name in re.findall(r"`(\w+)`", names_of_row)}
    assert listed == OPTIONS - {"handler_function"}
