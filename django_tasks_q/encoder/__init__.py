"""Messages as bytes: one encoder a file, strict JSON by default."""

from .encoder import Encoder
from .pickled import PickleEncoder
from .signed import SignedEncoder
from .strict import MAX_DEPTH, JSONEncoder
from .typed import TypedJSONEncoder

__all__ = ["MAX_DEPTH", "Encoder", "JSONEncoder", "PickleEncoder", "SignedEncoder", "TypedJSONEncoder"]
