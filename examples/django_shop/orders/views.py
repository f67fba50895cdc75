"""The site: it takes orders, and shows what has become of them."""

from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

import m25.sync

from .jobs import CustomerUnknown, Invoice, invoices
from .models import Order
from .tasks import thank

IN_STOCK = ("Emma", "Persuasion")


class OutOfStock(Exception):
    """The book is not there."""


def front(request: HttpRequest) -> HttpResponse:
    """The form, and what it orders."""
    if request.method != "POST":
        return render(request, "front.html")
    customer, book = request.POST["customer"], request.POST["book"]
    try:
        # The order, its job and its task are there together, or none of them is.
        with transaction.atomic():
            order = Order.objects.create(customer=customer, book=book)
            order.invoice_job = m25.sync.enqueue(
                connection, invoices, Invoice(order.pk, customer)
            ).id
            order.thanks_task = thank.enqueue(order.pk).id
            order.save()
            if book not in IN_STOCK:
                raise OutOfStock(book)
    except OutOfStock as error:
        return render(request, "front.html", {"error": f"{error} is out of stock"}, status=409)
    return redirect(f"/orders/{order.pk}")


def order(request: HttpRequest, number: int) -> HttpResponse:
    """What has become of an order."""
    order = get_object_or_404(Order, pk=number)
    try:
        invoice = m25.sync.result(connection, invoices, order.invoice_job, timeout=2)
    except TimeoutError:
        invoice = "is being written"
    except CustomerUnknown:
        invoice = "cannot be written"
    thanks = thank.get_result(order.thanks_task)
    return render(request, "order.html", {"order": order, "invoice": invoice, "thanks": thanks})
