"""The tasks of the shop: functions of Django's, which the worker calls in threads."""

import django

from .models import Order

if django.VERSION >= (6, 0):
    from django.tasks import task
else:
    from django_tasks import task


@task
def thank(number: int) -> str:
    """Thank for an order."""
    order = Order.objects.get(pk=number)
    order.is_thanked = True
    order.save(update_fields=["is_thanked"])
    return f"thanked {order.customer}"
