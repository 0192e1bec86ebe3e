"""What operators want of messages: which are called off, and which must wait. Meaning, no storage."""

from .conditions import Conditions
from .rules import Rule, Rules, paused_key
from .store import ControlStore, control_store, set_control_store_factory

__all__ = ["Conditions", "ControlStore", "Rule", "Rules", "control_store", "paused_key", "set_control_store_factory"]
