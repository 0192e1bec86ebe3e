"""Every page that is ours: of the admin, and of the demo."""

from __future__ import annotations

from django.utils.http import urlencode

from tests.browser.place import Place
from tests.browser.scene import MUTEX, TOKEN, Scene

LISTS = (
    "overview",
    "messagerecord",
    "deadletter",
    "delayedmessage",
    "runningmessage",
    "stamp",
    "revocation",
    "queuestate",
    "actorstate",
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
    batch = place.page("stamp_batch") + "?" + urlencode({"stamp": scene.stamp})
    ask = "?" + urlencode({"stamp": scene.stamp, "expires": "week", "ask": "yes"})
    found |= {
        "revoke": place.page("messagerecord_revoke", scene.running),
        "terminate": place.page("messagerecord_terminate", scene.running),
        "message-revoked": place.page("messagerecord_change", scene.revoked),
        "messages-stamped": place.page("messagerecord_changelist") + "?" + urlencode({"stamp": scene.stamp}),
        "messages-wrong-stamp": place.page("messagerecord_changelist") + "?stamp=batch",
        "batch": batch,
        "batch-none": place.page("stamp_batch") + "?stamp=batch%3Dnone",
        "batch-wrong": place.page("stamp_batch") + "?stamp=batch",
        "revocation-new": place.page("revocation_new"),
        "revocation-ask": place.page("revocation_new") + ask,
        "revocation-change": place.page("revocation_change", scene.revocation),
        "revocation-lift": place.page("revocation_lift", scene.revocation),
        "queue-pause": place.page("queuestate_pause", "default"),
        "queue-resume": place.page("queuestate_resume", "default"),
        "queue-purge": place.page("queuestate_purge", "default"),
        "actor-pause": place.page("actorstate_pause", "noop"),
        "actor-resume": place.page("actorstate_resume", "noop"),
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
