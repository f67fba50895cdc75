"""Names of a package that are imported once somebody asks for them.

Who needs one of them is not to wait for all: a program that only enqueues, from Django say, has no
use for Trio.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, modules: Mapping[str, Iterable[str]], submodules: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and the `__dir__` of a package, as PEP 562 has them.

    Args:
        package: its `__name__`; it may be a module that has no others in it.
        modules: the names that a module has, by the module's own name; for one in the package it
            begins with a dot.
        submodules: those modules of the package that are names themselves.
    """
    places = {name: module for module, names in modules.items() for name in names}
    places.update((name, f".{name}") for name in submodules)

    def get(name: str) -> Any:
        if (place := places.get(name)) is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(place, package)
        value = module if place == f".{name}" else getattr(module, name)
        # From now on it is found without a call.
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *places})

    return get, names
