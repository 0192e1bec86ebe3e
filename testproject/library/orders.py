"""What a visitor's request leaves behind: a row and a message, both or none."""

from uuid import uuid4

from django.db import transaction
from django.utils import timezone

from testproject.library.forms import Donation
from testproject.library.models import Book, Printing, Upload
from testproject.library.press import print_catalogue
from testproject.library.tasks import cut_up


def donate(given: Donation) -> Book:
    """Put a text on the shelf; the book has no chapters before a worker has cut it up."""
    with transaction.atomic():
        slug = f"gift-{uuid4().hex[:12]}"
        year = timezone.now().year
        book = Book.objects.create(slug=slug, title=given.title, author="A visitor's gift", year=year)
        upload = Upload.objects.create(book=book, file_name=given.file_name, data=given.data)
        upload.message_id = cut_up.send_on_commit(upload.pk).message_id
        upload.save(update_fields=["message_id"])
    return book


def order_print() -> Printing:
    """Order the catalogue; whoever comes second waits for the press."""
    with transaction.atomic():
        printing = Printing.objects.create()
        printing.message_id = print_catalogue.send_on_commit(printing.pk).message_id
        printing.save(update_fields=["message_id"])
    return printing
