"""Settings of the shop, all from the environment."""

import os

UNIT_TESTS = os.environ.get("UNIT_TESTS") == "1"

# Where messages travel: redis://… or amqp://… (give RabbitMQ a virtual host of the shop's own).
BROKER_URL = os.environ.get("BROKER_URL", "redis://127.0.0.1:6379/9")

# Where results, rate limits and barriers live.
REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/9")

# Keeps two shops on one Redis apart.
NAMESPACE = os.environ.get("SHOP_NAMESPACE", "shop")

# "json" (the default), "pickle" or "decimal" (the shop's own).
ENCODER = os.environ.get("SHOP_ENCODER", "json")

# The append-only file of everything that happened.
LEDGER = os.environ.get("SHOP_LEDGER", "ledger.jsonl")
