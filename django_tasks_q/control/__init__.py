"""Calling messages off, and letting queues and actors wait."""

from .pausing import pause_actor, pause_queue, resume_actor, resume_queue
from .revoking import Revocation, lift, revoke, revoke_by_stamped_headers

__all__ = [
    "Revocation",
    "lift",
    "pause_actor",
    "pause_queue",
    "resume_actor",
    "resume_queue",
    "revoke",
    "revoke_by_stamped_headers",
]
