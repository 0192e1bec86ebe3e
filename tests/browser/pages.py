"""Every page that is ours: of the admin, and of the demo."""

from __future__ import annotations

from tests.browser.place import Place
from tests.browser.scene import MUTEX, TOKEN, Scene

LISTS = (
    "overview",
    "messagerecord",
    "deadletter",
    "delayedmessage",
    "runningmessage",
    "queuestate",
    "workerprocess",
    "scheduleentry",
    "ratelimitmutex",
    "waitingmessage",
    "bulkoperation",
)


def pages(place: Place, scene: Scene) -> dict[str, str]:
    """Names and addresses."""
    return {**_lists(place), **_things(place, scene), **_demo(place)}


def _lists(place: Place) -> dict[str, str]:
    searched = place.page("messagerecord_changelist") + "?q=nobody"
    filtered = place.page("deadletter_changelist") + "?actor_name=noop"
    found = {name: place.page(f"{name}_changelist") for name in LISTS}
    return {**found, "messages-none": searched, "deadletter-filtered": filtered}


def _things(place: Place, scene: Scene) -> dict[str, str]:
    found = {
        "message-dead": place.page("messagerecord_change", scene.dead),
        "message-running": place.page("messagerecord_change", scene.running),
        "message-succeeded": place.page("messagerecord_change", scene.succeeded),
        "requeue": place.page("messagerecord_requeue", scene.dead),
        "discard": place.page("messagerecord_discard", scene.dead),
        "edit": place.page("messagerecord_edit", scene.dead),
        "history": place.page("messagerecord_history", scene.dead),
        "requeue-everything": place.page("deadletter_requeue_everything"),
        "discard-everything": place.page("deadletter_discard_everything") + "?actor_name=noop",
        "bulk-finished": place.page("bulkoperation_change", scene.finished),
        "bulk-unfinished": place.page("bulkoperation_change", scene.unfinished),
        "admin-index": f"{place.address}/admin/",
        "admin-app": f"{place.address}/admin/django_tasks_q/",
    }
    return {**found, "release": place.page("ratelimitmutex_release", MUTEX) + f"?token={TOKEN}"}


def _demo(place: Place) -> dict[str, str]:
    return {
        "demo": f"{place.address}/",
        "demo-search": f"{place.address}/?word=sea",
        "demo-donate": f"{place.address}/donate/",
        "demo-book": f"{place.address}/books/swann/",
        "demo-press": f"{place.address}/press/",
    }
