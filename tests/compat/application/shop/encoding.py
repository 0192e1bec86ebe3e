"""The shop's own encoder: JSON that keeps Decimal amounts exact."""

import json
from decimal import Decimal

import dramatiq


class DecimalEncoder(dramatiq.Encoder):
    def encode(self, data):
        return json.dumps(data, default=self._tag, separators=(",", ":")).encode("utf-8")

    def decode(self, data):
        return json.loads(data.decode("utf-8"), object_hook=self._untag)

    @staticmethod
    def _tag(value):
        if isinstance(value, Decimal):
            return {"__decimal__": str(value)}
        raise TypeError(f"cannot encode {value!r}")

    @staticmethod
    def _untag(value):
        if set(value) == {"__decimal__"}:
            return Decimal(value["__decimal__"])
        return value
