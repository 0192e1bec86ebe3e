"""One page that shows the library, and one button that starts the work."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from testproject.library import page
from testproject.library.tasks import import_library


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    word = request.GET.get("word", "").strip().lower().replace("’", "'")
    context = {
        "shelf": page.shelf(),
        "search": page.search(word) if word else None,
    }
    return render(request, "library/index.html", context)


@require_POST
def start_import(request: HttpRequest) -> HttpResponse:
    """Send one message and be done: the workers do the rest."""
    message = import_library.send()
    messages.success(request, f"Message {message.message_id} is on its way to a worker.")
    return redirect("library:index")
