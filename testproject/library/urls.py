"""The pages, the progress that they ask for, and the buttons on them."""

from django.urls import path

from testproject.library import views

app_name = "library"

urlpatterns = [
    path("", views.index, name="index"),
    path("progress.json", views.index_progress, name="index_progress"),
    path("import/", views.start_import, name="start_import"),
    path("donate/", views.donate, name="donate"),
    path("books/<slug:slug>/", views.book, name="book"),
    path("books/<slug:slug>/progress.json", views.book_progress, name="book_progress"),
    path("chapters/<int:pk>/encoding/", views.set_encoding, name="set_encoding"),
    path("press/", views.press, name="press"),
    path("press/<int:pk>/progress.json", views.printing_progress, name="printing_progress"),
    path("press/progress.json", views.press_progress, name="press_progress"),
]
