"""What m25 needs of Django, and of its tasks: those of Django 6, or of `django-tasks` for 5.2.

Django has no types. Here its names get the type of which checkers know that they know nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final


def _module(name: str) -> Any:
    return importlib.import_module(name)


_PACKAGE: Final = "django.tasks" if _module("django").VERSION >= (6, 0) else "django_tasks"

tasks: Final[Any] = _module(_PACKAGE)
base: Final[Any] = _module(f"{_PACKAGE}.base")
exceptions: Final[Any] = _module(f"{_PACKAGE}.exceptions")
signals: Final[Any] = _module(f"{_PACKAGE}.signals")
# Of different names in the two.
InvalidTask: Final[Any] = getattr(exceptions, "InvalidTask", None) or exceptions.InvalidTaskError

apps: Final[Any] = _module("django.apps").apps
db: Final[Any] = _module("django.db")
import_string: Final[Any] = _module("django.utils.module_loading").import_string
ImproperlyConfigured: Final[Any] = _module("django.core.exceptions").ImproperlyConfigured
settings: Final[Any] = _module("django.conf").settings
timezone: Final[Any] = _module("django.utils.timezone")

if TYPE_CHECKING:

    class BaseTaskBackend:
        """What a backend of Django's has, as far as it is used here."""

        alias: str
        queues: set[str]
        options: dict[str, Any]

        def __init__(self, alias: str, params: Mapping[str, Any]) -> None: ...
        def validate_task(self, task: Any) -> None: ...
else:
    BaseTaskBackend = _module(f"{_PACKAGE}.backends.base").BaseTaskBackend
