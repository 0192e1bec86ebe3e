"""Books, their chapters, and where each word stands."""

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
        ordering = ["year"]

    def __str__(self) -> str:
        return self.title


class Chapter(models.Model):
    """One file of the folder. `message_id` is the message that is to index it."""

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        INDEXED = "indexed", "indexed"
        FAILED = "failed", "failed"

    book = models.ForeignKey(Book, models.CASCADE, related_name="chapters")
    number = models.IntegerField()
    title = models.CharField(max_length=200)
    file_name = models.CharField(max_length=200, unique=True)
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
