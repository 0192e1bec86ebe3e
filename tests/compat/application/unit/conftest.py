"""Unit tests of the shop, on the stub broker: `python -m pytest unit` next to `shop/`."""

import os
import sys
from pathlib import Path

import pytest

os.environ["UNIT_TESTS"] = "1"  # before the shop is imported
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import dramatiq
from dramatiq.brokers.stub import StubBroker
from shop import broker as shop_broker
from shop import config, tasks  # noqa: F401


@pytest.fixture(autouse=True)
def ledger_file(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "LEDGER", str(tmp_path / "ledger.jsonl"))


@pytest.fixture
def stub_broker():
    """The shop's broker, emptied."""
    shop_broker.broker.flush_all()
    return shop_broker.broker


@pytest.fixture
def stub_worker(stub_broker):
    worker = dramatiq.Worker(stub_broker, worker_timeout=100)
    worker.start()
    yield worker
    worker.stop()


@pytest.fixture
def own_broker():
    """A new stub broker with Dramatiq's default middleware, as the global broker."""
    previous = dramatiq.get_broker()
    broker = StubBroker()
    broker.emit_after("process_boot")
    dramatiq.set_broker(broker)
    yield broker
    broker.flush_all()
    broker.close()
    dramatiq.set_broker(previous)


@pytest.fixture
def own_worker(own_broker):
    """One thread, not started yet."""
    worker = dramatiq.Worker(own_broker, worker_timeout=100, worker_threads=1)
    yield worker
    worker.stop()


@pytest.fixture(params=[dramatiq.JSONEncoder, dramatiq.PickleEncoder], ids=["json", "pickle"])
def encoder(request):
    previous = dramatiq.get_encoder()
    dramatiq.set_encoder(request.param())
    yield dramatiq.get_encoder()
    dramatiq.set_encoder(previous)
