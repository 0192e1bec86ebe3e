"""Pages that show the work, and buttons that send for it: no view does any of it itself."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from django_tasks_q.operations.progress import progress_json
from testproject.library import orders, page, progress
from testproject.library.forms import DonationForm, EncodingForm
from testproject.library.models import Chapter, Printing
from testproject.library.tasks import import_library


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    word = request.GET.get("word", "").replace("\0", "").strip().lower().replace("’", "'")
    shelf = page.shelf()
    context = {
        "shelf": shelf,
        "search": page.search(word) if word else None,
        "progress": progress.of_shelf(shelf),
    }
    return render(request, "library/index.html", context)


@require_safe
def index_progress(request: HttpRequest) -> JsonResponse:
    return JsonResponse(progress.of_shelf(page.shelf()))


@require_POST
def start_import(request: HttpRequest) -> HttpResponse:
    """Send one message and be done: the workers do the rest."""
    message = import_library.send()
    messages.success(request, f"Message {message.message_id} is on its way to a worker.")
    return redirect("library:index")


@require_http_methods(["GET", "HEAD", "POST"])
def donate(request: HttpRequest) -> HttpResponse:
    """Take a text, write it down and send one message, all or nothing; then show how the work goes."""
    form = DonationForm(request.POST, request.FILES) if request.method == "POST" else DonationForm()
    if form.is_valid():
        return redirect("library:book", orders.donate(form.donation()).slug)
    return render(request, "library/donate.html", {"form": form}, status=422 if form.is_bound else 200)


@require_safe
def book(request: HttpRequest, slug: str) -> HttpResponse:
    card = _card(slug)
    context = {"card": card, "progress": progress.of_book(card), "encodings": Chapter.Encoding.choices}
    return render(request, "library/book_page.html", context)


@require_safe
def book_progress(request: HttpRequest, slug: str) -> JsonResponse:
    return JsonResponse(progress.of_book(_card(slug)))


def _card(slug: str) -> page.BookCard:
    if card := page.card(slug):
        return card
    raise Http404("There is no such book.")


@require_POST
def set_encoding(request: HttpRequest, pk: int) -> HttpResponse:
    """Mend the row that made a message die. Requeuing the message is up to the visitor, in the admin."""
    chapter = get_object_or_404(Chapter.objects.defer("text", "source").select_related("book"), pk=pk)
    form = EncodingForm(request.POST)
    if form.is_valid():
        chapter.encoding = form.cleaned_data["encoding"]
        chapter.save(update_fields=["encoding"])
        messages.success(request, f"“{chapter}” will be read as {chapter.get_encoding_display()}. Now requeue it.")
    else:
        messages.error(request, "This encoding is not among those on offer.")
    return redirect("library:book", chapter.book.slug)


@require_http_methods(["GET", "HEAD", "POST"])
def press(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        printing = orders.order_print()
        messages.success(request, f"Order {printing.pk} is on its way to a worker, which will need the press.")
        return redirect("library:press")
    printing_press = page.printing_press()
    context = {"press": printing_press, "progress": progress.of_press(printing_press)}
    return render(request, "library/press.html", context)


@require_safe
def press_progress(request: HttpRequest) -> JsonResponse:
    return JsonResponse(progress.of_press(page.printing_press()))


@require_safe
def printing_progress(request: HttpRequest, pk: int) -> JsonResponse:
    """Any visitor may know how far an order is, and of no other message."""
    told = progress_json(get_object_or_404(Printing, pk=pk).message_id)
    if told is None:
        raise Http404("Nothing is recorded of its message.")
    return JsonResponse(told)
