"""Results for people (a table, a Markdown page) and for programs (JSON)."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import time
from importlib.metadata import version
from pathlib import Path

import psycopg

from .databases import POSTGRES_URL
from .engines import DJANGO_TASKS_Q, ON_BROKERS, PEERS, REQUIREMENTS
from .results import Figure, Results, show

TITLES = {
    "drain": "Drain a queue that was filled beforehand, records on",
    "send": "Send",
    "latency": "Latency of idle workers, from the call of `send()` to the start of the task",
    "idle": "Idle workers: CPU and memory",
    "statements": "Statements at full load, as the server counts them",
    "retention": "Drain while old records are deleted, and without",
    "cold": "Cold start: from the launch of the command to the first task",
}


def machine(load: str) -> dict[str, str]:
    """What the figures depend on."""
    packages = ("django-tasks-q", "Django", "psycopg", "msgspec")
    peers = (line for line in REQUIREMENTS.read_text().splitlines() if "==" in line and "psycopg" not in line)
    return {
        "Date": time.strftime("%Y-%m-%d"),
        "Machine": f"{os.cpu_count()} cores ({_processor()}), {_memory()} GiB",
        "System": f"{platform.system()} {platform.release()}",
        "Load before the run": load,
        "Python": platform.python_version(),
        "Packages": ", ".join(f"{name} {version(name)}" for name in packages),
        "Peers": ", ".join(line.replace("==", " ") for line in peers),
        "Databases": f"SQLite {sqlite3.sqlite_version} (WAL, synchronous=NORMAL), PostgreSQL {_postgresql()}",
    }


def table(results: Results) -> str:
    """Everything that was measured, in Markdown."""
    parts = []
    for case, figures in results.by_case().items():
        parts += [
            f"## {TITLES[case]}",
            "",
            "| what | engine | database | median | spread | wanted | every repetition |",
        ]
        parts += ["|---|---|---|---:|---:|---:|---|", *map(_row, figures), ""]
    return "\n".join(parts)


def write_markdown(path: Path, results: Results, facts: dict[str, str], command: str) -> None:
    shapes = [f"- {engine.name}: {engine.shape}" for engine in (DJANGO_TASKS_Q, *PEERS, *ON_BROKERS)]
    shapes = list(dict.fromkeys(shapes))
    head = ["# Figures", "", f"Taken with `{command}`. How: [README](../README.md).", ""]
    head += [f"- {name}: {value}" for name, value in facts.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*head, "", "Shapes:", "", *shapes, "", table(results)]))


def write_json(path: Path, results: Results, facts: dict[str, str]) -> None:
    document = {"machine": facts, "figures": [figure.as_dict() for figure in results]}
    path.write_text(json.dumps(document, indent=2) + "\n")


def _row(figure: Figure) -> str:
    wanted = ""
    if figure.wanted is not None:
        sign = "≥" if figure.more_is_better else "≤"
        wanted = f"{sign} {figure.wanted:,g} {'✓' if figure.is_met else '✗'}"
    values = " · ".join(map(show, figure.values))
    return (
        f"| {figure.name} | {figure.engine} | {figure.database} | {show(figure.median)} {figure.unit} "
        f"| {figure.spread:.2f} | {wanted} | {values} |"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _postgresql() -> str:
    try:
        with psycopg.connect(POSTGRES_URL) as connection:
            number = connection.info.server_version
    except psycopg.Error:
        return "not there"
    return f"{number // 10000}.{number % 10000}"
