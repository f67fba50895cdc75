"""Django's tasks, where they are installed: with Django 6, or as a package beside Django 5.2."""

from __future__ import annotations

import pytest


def need_tasks() -> None:
    """Skip a test where there are no tasks."""
    django = pytest.importorskip("django")
    if django.VERSION < (6, 0):
        pytest.importorskip("django_tasks")
