"""The page, and the button on it."""

from django.urls import path

from testproject.library import views

app_name = "library"

urlpatterns = [
    path("", views.index, name="index"),
    path("import/", views.start_import, name="start_import"),
]
