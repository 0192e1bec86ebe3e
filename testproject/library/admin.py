"""The library in the admin."""

from django.contrib import admin

from testproject.library.models import Book, Chapter, Entry, Printing, Upload

admin.site.register(
    Book,
    list_display=["title", "author", "year", "word_count", "distinct_words", "summarised_at"],
)
admin.site.register(
    Chapter,
    list_display=["title", "book", "number", "state", "encoding", "word_count", "indexed_at", "indexed_by"],
    list_filter=["state", "book"],
    list_select_related=["book"],
)
admin.site.register(
    Entry,
    list_display=["word", "chapter", "count"],
    list_select_related=["chapter"],
    raw_id_fields=["chapter"],
    search_fields=["word"],
)
admin.site.register(
    Upload,
    list_display=["file_name", "book", "received_at"],
    list_select_related=["book"],
)
admin.site.register(
    Printing,
    list_display=["__str__", "pages", "page_count", "ordered_at", "started_at", "finished_at"],
)
