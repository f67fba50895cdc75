"""Django's tasks on m25: a backend for `django.tasks`, and the queues whose workers run them.

    # settings.py
    TASKS = {"default": {"BACKEND": "m25.django.TaskBackend"}}

    # shop/worker.py, to be run by `m25 worker shop.worker`
    django.setup()
    tasks = m25.django.task_queue("default", max_concurrency=20)

It needs Django 6, or Django 5.2 with the package `django-tasks`. An enqueued task is a part of the
transaction that is open on Django's connection: it is there if that commits, and not if that is
rolled back. `m25.sync`, which takes Django's connection, too, needs none of this.
"""

from ._backend import TaskBackend
from ._calls import TaskCall
from ._worker import task_queue

__all__ = ["TaskBackend", "TaskCall", "task_queue"]
