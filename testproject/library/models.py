"""Books, their chapters, and where each word stands; what visitors brought, and what they had printed."""

from django.db import models


class Book(models.Model):
    """One book. Its summary is filled in when the last of its chapters is done."""

    slug = models.SlugField(unique=True)
    title = models.CharField(max_length=200)
    author = models.CharField(max_length=200)
    year = models.IntegerField()
    word_count = models.IntegerField(default=0)
    distinct_words = models.IntegerField(default=0)
    top_words = models.JSONField(default=list)
    summarised_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["year", "pk"]

    def __str__(self) -> str:
        return self.title


class Upload(models.Model):
    """A text as a visitor brought it, and the book it becomes. `message_id` is the message that cuts it up."""

    book = models.OneToOneField(Book, models.CASCADE, related_name="upload")
    file_name = models.CharField(max_length=200)
    data = models.BinaryField()
    message_id = models.CharField(max_length=64, default="")
    received_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.file_name


class Chapter(models.Model):
    """A piece of a book as it came (`source`), and what was read. `message_id` is the message that saw to it last."""

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        INDEXED = "indexed", "indexed"
        FAILED = "failed", "failed"

    class Encoding(models.TextChoices):
        UTF_8 = "utf-8", "UTF-8"
        LATIN_1 = "latin-1", "Latin-1"
        WINDOWS = "cp1252", "Windows-1252"

    book = models.ForeignKey(Book, models.CASCADE, related_name="chapters")
    number = models.IntegerField()
    title = models.CharField(max_length=200)
    file_name = models.CharField(max_length=200, unique=True)
    source = models.BinaryField(default=b"")
    encoding = models.CharField(max_length=10, choices=Encoding.choices, default=Encoding.UTF_8)
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    message_id = models.CharField(max_length=64)
    text = models.TextField(default="")
    word_count = models.IntegerField(default=0)
    indexed_at = models.DateTimeField(null=True)
    indexed_by = models.CharField(max_length=100, default="")

    class Meta:
        ordering = ["book", "number"]
        constraints = [models.UniqueConstraint(fields=["book", "number"], name="library_one_chapter_per_number")]

    def __str__(self) -> str:
        return f"{self.number}. {self.title}"


class Entry(models.Model):
    """One word of one chapter, with the lines it stands in: an entry of the concordance."""

    chapter = models.ForeignKey(Chapter, models.CASCADE, related_name="entries")
    word = models.CharField(max_length=100)
    count = models.IntegerField()
    lines = models.JSONField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["chapter", "word"], name="library_one_entry_per_word")]
        indexes = [models.Index(fields=["word"], name="library_entry_word")]
        verbose_name_plural = "entries"

    def __str__(self) -> str:
        return self.word


class Printing(models.Model):
    """An order to print the catalogue. It holds the press from `started_at` to `finished_at`, as it saw it itself."""

    message_id = models.CharField(max_length=64, default="")
    pages = models.IntegerField(default=0)
    page_count = models.IntegerField(default=0)
    sheet = models.TextField(default="")
    ordered_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"Printing {self.pk}"
