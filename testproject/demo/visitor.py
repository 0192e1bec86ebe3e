"""What a visitor does, all of it over HTTP: give texts, order prints, and repair dead letters in the admin."""

import json

from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from testproject.demo.room import PASSWORD, USER
from testproject.demo.site import Site
from testproject.library.models import Chapter


class Visitor:
    def __init__(self, site: Site) -> None:
        self._site = site

    def upload(self, file_name: str, data: bytes, title: str) -> str:
        """Give a text file; returns the path of the page of its book."""
        file = SimpleUploadedFile(file_name, data, content_type="text/plain")
        return self._site.submit(reverse("library:donate"), {"file": file, "title": title})

    def pick(self, file_name: str) -> str:
        """Give a copy of one of the shipped texts; returns the path of the page of its book."""
        return self._site.submit(reverse("library:donate"), {"shipped": file_name})

    def order_print(self) -> None:
        self._site.submit(reverse("library:press"))

    def log_in(self) -> None:
        fields = {"username": USER, "password": PASSWORD, "next": reverse("admin:index")}
        self._site.submit(reverse("admin:login"), fields)

    def mend_and_requeue(self, chapter: Chapter, encoding: str) -> None:
        """Say on the page how the chapter is written, then requeue its dead letter as it is."""
        form_on = reverse("library:book", args=[chapter.book.slug])
        self._site.submit(reverse("library:set_encoding", args=[chapter.pk]), {"encoding": encoding}, form_on=form_on)
        self._site.submit(reverse("admin:django_tasks_q_messagerecord_requeue", args=[chapter.message_id]))

    def requeue_edited(self, chapter: Chapter, encoding: str) -> None:
        """Requeue a copy of the chapter's dead letter that says how the chapter is written."""
        arguments = {"args": json.dumps([chapter.pk]), "kwargs": json.dumps({"encoding": encoding})}
        self._site.submit(reverse("admin:django_tasks_q_messagerecord_edit", args=[chapter.message_id]), arguments)

    def press_holder(self) -> str:
        """The message that holds the press, where its page and the admin's mutexes agree; empty when nobody does."""
        holder = self._site.json(reverse("library:press_progress"))["holder"]
        mutexes = self._site.page(reverse("admin:django_tasks_q_ratelimitmutex_changelist"))
        return holder["message_id"] if holder and holder["message_id"] in mutexes else ""
