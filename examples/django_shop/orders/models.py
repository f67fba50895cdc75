"""What the shop keeps."""

from django.db import models


class Order(models.Model):
    """An order, with the job and the task that were put together with it."""

    customer = models.TextField()
    book = models.TextField()
    invoice_job = models.UUIDField(null=True)
    thanks_task = models.TextField(null=True)
    is_thanked = models.BooleanField(default=False)
