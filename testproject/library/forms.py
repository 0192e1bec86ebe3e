"""What visitors may hand in."""

from __future__ import annotations

from typing import Any, NamedTuple

from django import forms
from django.core.files.uploadedfile import UploadedFile

from testproject.library import catalogue
from testproject.library.models import Chapter

LARGEST_FILE = 1_000_000
LONGEST_LINE = 20_000


class Donation(NamedTuple):
    """A text before it is a book."""

    file_name: str
    data: bytes
    title: str


class DonationForm(forms.Form):
    """A text file of the visitor's, or one of the texts that are here. Its encoding is the workers' business."""

    file = forms.FileField(
        required=False,
        max_length=200,
        label="A text file of yours",
        help_text=f"Plain text, at most {LARGEST_FILE:,} bytes.",
    )
    shipped = forms.ChoiceField(
        required=False, label="Or one of ours", help_text="“La madeleine” is the one that is not UTF-8."
    )
    title = forms.CharField(
        required=False, max_length=200, label="Title", help_text="When you leave this empty: the name of the file."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})
        shipped = self.fields["shipped"]
        assert isinstance(shipped, forms.ChoiceField)
        shipped.choices = [("", "–"), *_shipped_texts()]

    def clean_file(self) -> UploadedFile[bytes] | None:
        file: UploadedFile[bytes] | None = self.cleaned_data["file"]
        if file:
            _refuse_no_text(file)
        return file

    def clean(self) -> None:
        given = self.cleaned_data
        if not self.errors and bool(given["file"]) == bool(given["shipped"]):
            raise forms.ValidationError("Choose a file of yours, or one of ours: one of the two.")

    def donation(self) -> Donation:
        """What a valid form gives."""
        file, shipped, title = (self.cleaned_data[name] for name in ("file", "shipped", "title"))
        if file:
            return Donation(file.name, file.read(), title or file.name.removesuffix(".txt"))
        return Donation(shipped, (catalogue.FOLDER / shipped).read_bytes(), title or dict(_shipped_texts())[shipped])


class EncodingForm(forms.Form):
    """How the bytes of a chapter are to be read."""

    encoding = forms.ChoiceField(choices=Chapter.Encoding.choices)


def _shipped_texts() -> list[tuple[str, str]]:
    return [(file_name, f"{book.title}: {title}") for book in catalogue.books() for _, title, file_name in book.files()]


def _refuse_no_text(file: UploadedFile[bytes]) -> None:
    if (file.size or 0) > LARGEST_FILE:
        raise forms.ValidationError(f"This file has {file.size:,} bytes; the library takes {LARGEST_FILE:,}.")
    data = file.read()
    file.seek(0)
    if b"\0" in data:
        raise forms.ValidationError("This is no plain text: it has NUL bytes, as pictures, archives and UTF-16 have.")
    if max(map(len, data.splitlines()), default=0) > LONGEST_LINE:
        raise forms.ValidationError(f"This is no text for a library: a line has more than {LONGEST_LINE:,} bytes.")
    if not data.strip():
        raise forms.ValidationError("There is nothing to read in this file.")
