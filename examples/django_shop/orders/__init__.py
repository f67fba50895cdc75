"""A shop in Django, whose work is done by a worker under Trio.

`views.py` takes orders. With each it puts a job on a queue (`jobs.py`) and a task (`tasks.py`) on
another one, in the transaction of the order. `worker.py` runs both:

    export DATABASE_URL=postgresql://localhost/shop
    m25 migrate --apply
    python manage.py migrate --run-syncdb
    python manage.py runserver
    m25 worker orders.worker        # in another terminal
"""
