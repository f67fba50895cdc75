"""What the worker runs: `m25 worker orders.worker`."""

import os

import django
import trio

import m25

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orders.settings")
django.setup()

import m25.django  # noqa: E402 - it needs the settings

from .jobs import CustomerUnknown, Invoice, invoices  # noqa: E402


@m25.queue(invoices, max_concurrency=100)
async def write_invoice(invoice: Invoice) -> str:
    """Write an invoice: under Trio, with all that m25 has."""
    if invoice.customer == "nobody":
        raise CustomerUnknown(invoice.customer)
    await trio.sleep(0.1)  # the accountants' server
    return f"no. {invoice.order}, to {invoice.customer}"


tasks = m25.django.task_queue(max_concurrency=10)
