"""The queues of the shop, as both the site and its worker know them."""

import attrs

import m25


@attrs.frozen
class Invoice:
    """Which order is to be invoiced, and to whom."""

    order: int
    customer: str


class CustomerUnknown(Exception):
    """There is nobody of this name."""


invoices = m25.declare("invoices", input=Invoice, output=str, errors=(CustomerUnknown,))
