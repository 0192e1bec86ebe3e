"""Open the shop, serve its customers, close it, open it again, and check the ledger.

    BROKER_URL=redis://127.0.0.1:6379/9 python scenario.py [worker command …]

The command (else $WORKER_COMMAND, else WORKER below) starts a worker in the foreground. It
gets SIGTERM and must then exit with 0; it gets SIGHUP and must then reload. Further settings
are in shop/config.py. Prints PASS, or what differs and the end of the worker's log, and exits
accordingly.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORKER = "dramatiq shop.broker shop.tasks --processes 2 --threads 4"
PATIENCE = 40  # seconds that one stage may take

RUN = tempfile.TemporaryDirectory(prefix="shop-")
os.environ["SHOP_LEDGER"] = str(Path(RUN.name, "ledger.jsonl"))
os.environ.setdefault("SHOP_NAMESPACE", f"shop-{uuid.uuid4().hex[:8]}")
# Find the worker's script next to this Python, virtual environment activated or not.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
sys.path.insert(0, str(HERE))

import redis  # noqa: E402
from shop import config, ledger  # noqa: E402
from shop.broker import broker  # noqa: E402
from shop.expected import expected_ledger  # noqa: E402
from shop.tasks import send_welcome_mail  # noqa: E402


class Failure(Exception):
    """The scenario went another way than it must."""


def differences(expected):
    happened = ledger.read()
    missing, surplus = expected - happened, happened - expected
    return [
        f"{word} {count}x {entry}"
        for word, entries in (("missing", missing), ("surplus", surplus))
        for entry, count in sorted(entries.items(), key=repr)
    ]


def wait_until(condition, what, worker=None):
    """Poll `condition`; fail when it takes too long or the worker dies over it."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if worker and worker.poll() is not None:
            raise Failure(f"{what}: the worker exited with {worker.returncode}")
        if time.monotonic() > deadline:
            raise Failure(f"{what}: took more than {PATIENCE} s")
        time.sleep(0.05)


def await_ledger(stage, worker):
    expected = expected_ledger(stage)
    wait_until(lambda: not expected - ledger.read(), f"ledger of {stage}", worker)


def check_ledger(stage):
    """Nothing may be missing. A retry may run sooner than the next stage, so more may be there."""
    if expected_ledger(stage) - ledger.read():
        raise Failure(f"the ledger is incomplete after {stage}")


def produce(stage, worker=None):
    command = [sys.executable, "-m", "shop.produce", stage]
    with subprocess.Popen(command, cwd=HERE) as producer:
        try:
            wait_until(lambda: producer.poll() is not None, f"producing {stage}", worker)
        finally:
            producer.kill()
    if producer.returncode:
        raise Failure(f"producing {stage}: exited with {producer.returncode}")


@contextlib.contextmanager
def working(log):
    command = sys.argv[1:] or shlex.split(os.environ.get("WORKER_COMMAND", WORKER))
    worker = subprocess.Popen(command, cwd=HERE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield worker
    finally:
        with contextlib.suppress(ProcessLookupError):  # whatever of it is left
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def stop(worker):
    worker.send_signal(signal.SIGTERM)
    wait_until(lambda: worker.poll() is not None, "stopping the worker")
    if worker.returncode:
        raise Failure(f"stopping the worker: it exited with {worker.returncode}")


def serve(log):
    with working(log) as worker:
        produce("opening", worker)
        await_ledger("opening", worker)
        produce("closing", worker)
        await_ledger("closing", worker)
        stop(worker)
    check_ledger("stopped")

    before = ledger.read()
    produce("closed")
    if ledger.read() != before:
        raise Failure("somebody works in the closed shop")
    with working(log) as worker:
        await_ledger("closed", worker)
        worker.send_signal(signal.SIGHUP)
        produce("reloaded", worker)
        await_ledger("reloaded", worker)
        broker.join(send_welcome_mail.queue_name, timeout=PATIENCE * 1000)
        stop(worker)
    if differences(expected_ledger()):
        raise Failure("the ledger differs")


def clean_up():
    broker.flush_all()
    broker.close()
    client = redis.Redis.from_url(config.REDIS_URL)
    for key in client.scan_iter(f"*{config.NAMESPACE}*", count=1000):
        client.delete(key)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of the clean-up
    started = time.monotonic()
    log_path = Path(RUN.name, "worker.log")
    broker.flush_all()
    try:
        with open(log_path, "ab") as log:
            serve(log)
    except Failure as failure:
        print(*log_path.read_text(errors="replace").splitlines()[-60:], sep="\n")
        print(f"FAIL: {failure}", *differences(expected_ledger()), sep="\n")
        return 1
    finally:
        clean_up()
    total = sum(expected_ledger().values())
    print(f"PASS: {total} effects in {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
