"""``python -m benchmarks``: measure the package and its peers on this machine."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from . import report
from .cases import Case, Scale, cold, drain, idle, latency, retention, send, statements
from .databases import STORES, Store
from .engines import DJANGO_TASKS_Q, ON_BROKERS, PEERS, Bench, Engine, prepared_database
from .processes import Failed
from .results import Figure, Results

CASES = {module.CASE.name: module.CASE for module in (drain, send, latency, idle, statements, cold, retention)}

BROKERS = ("database", "redis", "rabbitmq")


def main() -> int:
    arguments = _parser().parse_args()
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    results = Results()
    scale = Scale(arguments.messages, arguments.peer_messages, arguments.sends, arguments.idle, arguments.old_records)
    engines = [
        engine
        for engine in (DJANGO_TASKS_Q, *PEERS, *ON_BROKERS)
        if (arguments.peer or not engine.is_peer) and (engine.broker or "database") in arguments.brokers
    ]
    try:
        for name in arguments.only or CASES:
            measure(CASES[name], engines, arguments.databases or list(STORES), scale, arguments.repetitions, results)
    except Failed as reason:
        print(f"Failed: {reason}", file=sys.stderr)
        return 1
    facts = report.machine(load)
    print(f"\n{report.table(results)}")
    if arguments.json:
        report.write_json(arguments.json, results, facts)
    if arguments.write:
        report.write_markdown(arguments.write, results, facts, _command())
    return 0


def measure(
    case: Case, engines: Sequence[Engine], vendors: Sequence[str], scale: Scale, repetitions: int, results: Results
) -> None:
    """Repeat a case, all engines taking turns, so that a slow minute of the machine hits everybody."""
    print(f"\n{report.TITLES[case.name]}", flush=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dtq-benchmark-")))
        stores = [stack.enter_context(closing(STORES[vendor](folder))) for vendor in vendors]
        for _ in range(repetitions):
            for store in stores:
                for engine in engines:
                    if store.vendor in engine.vendors and case.suits(engine, store.vendor):
                        _measure_once(case, engine, store, scale, folder, results)


def _measure_once(case: Case, engine: Engine, store: Store, scale: Scale, folder: Path, results: Results) -> None:
    with prepared_database(engine, store, folder) as database:
        place = engine.place(store.vendor)
        with closing(Bench(engine, database, store.vendor, folder, case.slots(scale, engine))) as bench:
            for value in case.run(bench, scale):
                wanted = None if engine.is_peer else value.wanted
                figure = Figure(case.name, value.name, engine.name, place, value.unit, value.more_is_better, wanted)
                results.add(figure, value.value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--only", nargs="+", choices=list(CASES), metavar="CASE", help=f"some of: {', '.join(CASES)}")
    add("--databases", nargs="+", choices=list(STORES), metavar="DATABASE", help=f"some of: {', '.join(STORES)}")
    add(
        "--brokers",
        nargs="+",
        choices=BROKERS,
        default=BROKERS,
        metavar="BROKER",
        help=f"some of: {', '.join(BROKERS)}",
    )
    add("--repetitions", type=int, default=5, metavar="N")
    add("--messages", type=int, default=20_000, metavar="N", help="of the package (default 20,000)")
    add("--peer-messages", type=int, default=2_000, metavar="N", help="of each peer (default 2,000)")
    add("--sends", type=int, default=300, metavar="N", help="single sends for the latency (default 300)")
    add("--idle", type=float, default=10.0, metavar="S", help="seconds of watching idle workers (default 10)")
    add("--old-records", type=int, default=500_000, metavar="N", help="to be deleted meanwhile (default 500,000)")
    add("--peer", action=argparse.BooleanOptionalAction, default=True, help="measure the peers beside it")
    add("--json", type=Path, metavar="FILE", help="write everything there as JSON")
    add("--write", type=Path, metavar="FILE", help="write a Markdown page with the facts of this machine there")
    return parser


def _command() -> str:
    return " ".join(["make bench", *([f'ARGS="{" ".join(sys.argv[1:])}"'] if sys.argv[1:] else [])])


if __name__ == "__main__":
    sys.exit(main())
