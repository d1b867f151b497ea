"""The table of a bench, and what it has to show."""

import os
import platform
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from bench.at_size import Filled, Latency, latency_lines
from bench.captures import Backlog
from bench.cases import Round, Side

REFERENCE = {
    "health": 103,
    "get item, JWT": 1_095,
    "get item, PAT": 1_730,
    "list of 50": 1_615,
    "create, all fields": 2_200,
    "create with key": 2_206,
    "login": 31_300,
    "Slack acknowledgement": 545,
}
"""CPU µs a request of another tracker with the same features, at 100,000 items (api.md, 9)."""


@dataclass(frozen=True, kw_only=True)
class Boot:
    """`seconds` from the start of a process until it is ready; memory in MiB, idle."""

    role: str
    seconds: float
    rss: float
    pss: float


@dataclass(frozen=True, kw_only=True)
class Acknowledged:
    """Commands at a steady rate; latencies in ms."""

    rate: float
    p50: float
    p99: float
    failed: int


@dataclass
class Results:
    rounds: list[Round] = field(default_factory=list)
    backlogs: list[Backlog] = field(default_factory=list)
    boots: list[Boot] = field(default_factory=list)
    acknowledged: Acknowledged | None = None
    fills: list[Filled] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Requests that were answered with an error."""
        paced = self.acknowledged.failed if self.acknowledged else 0
        return sum(one.failed for one in self.rounds) + paced

    def raw(self) -> dict[str, Any]:
        return asdict(self)

    def median(self, case: str, items: int, side: Side, figure: str) -> float | None:
        """The median of a figure over the rounds, if there were any."""
        found = [
            value
            for one in self.rounds
            if (one.case, one.items, one.side) == (case, items, side)
            and (value := getattr(one, figure)) is not None
        ]
        return statistics.median(found) if found else None


def table(results: Results, items: Sequence[int], *, size: str, seconds: float) -> str:
    """Everything that was measured, to read."""
    lines: list[str] = []
    if results.rounds:
        lines += _requests(results, items)
    for one in results.backlogs:
        lines.append(
            f"captures, {one.workers} worker(s)   {one.rate:7.0f}/s"
            f"   {one.cpu_ms:.2f} ms of worker CPU each   (backlog of {one.captures:,})"
        )
    if results.acknowledged:
        one = results.acknowledged
        lines.append(
            f"acknowledgement at {one.rate:.0f}/s     p50 {one.p50:.1f} ms   p99 {one.p99:.1f} ms"
        )
    for role in dict.fromkeys(boot.role for boot in results.boots):
        boots = [boot for boot in results.boots if boot.role == role]
        lines.append(
            f"{role:<7} ready in {_middle(b.seconds for b in boots):.2f} s"
            f"   idle RSS {_middle(b.rss for b in boots):.0f} MiB"
            f"   PSS {_middle(b.pss for b in boots):.0f} MiB"
        )
    if results.fills:
        lines += ["", *latency_lines(results.fills, results.latencies)]
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    lines += [
        "",
        f"{size}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {seconds:.0f} s; {os.cpu_count()} cores,"
        f" Python {platform.python_version()}, load average {load}; {results.failed} errors.",
        "API is the CPU of the API process, PG that of all processes of PostgreSQL, for a request;",
        "a ratio is the application's by the ceiling's. Medians of rounds that alternate.",
    ]
    return "\n".join(lines)


def _requests(results: Results, items: Sequence[int]) -> list[str]:
    lines = [
        f"{'request':<22}{'items':>8}{'API µs':>8}{'ratio':>7}{'PG µs':>8}{'ratio':>7}{'req/s':>8}"
        f"{'p50 ms':>8}{'p99 ms':>8}{'reference':>11}{'less':>7}",
    ]
    for case in dict.fromkeys(one.case for one in results.rounds):
        for count in items:
            lines += _lines(results, case, count)
        few, many = (results.median(case, count, "app", "cpu") for count in (items[0], items[-1]))
        if few and many:
            lines.append(f"  {many / few:.2f} × the API's cost at {items[0]:,}")
    return [*lines, ""]


_CEILINGS: Mapping[Side, str] = {
    "replay": "  the same statements",
    "insert": "  one bare INSERT",
}


def _lines(results: Results, case: str, items: int) -> Iterator[str]:
    """The application, and each ceiling with how many times as much the application takes."""
    cpu, postgres, rate, p50, p99 = (
        results.median(case, items, "app", figure)
        for figure in ("cpu", "postgres_cpu", "rate", "p50", "p99")
    )
    if cpu is None:
        return
    reference = REFERENCE.get(case)
    beside = f"{reference:11,}{reference / cpu:6.1f}×" if reference else ""
    yield (
        f"{case:<22}{items:>8,}{cpu:8.0f}{'':7}{_number(postgres)}{'':7}{rate:8.0f}"
        f"{p50:8.2f}{p99:8.2f}{beside}"
    )
    for side, name in _CEILINGS.items():
        bare = results.median(case, items, side, "cpu")
        bare_postgres = results.median(case, items, side, "postgres_cpu")
        if bare:
            more = f"{postgres / bare_postgres:7.2f}" if postgres and bare_postgres else ""
            yield f"{name:<30}{bare:8.0f}{cpu / bare:7.2f}{_number(bare_postgres)}{more}"


def _number(microseconds: float | None) -> str:
    return f"{'-':>8}" if microseconds is None else f"{microseconds:8.0f}"


def _middle(values: Iterable[float]) -> float:
    return statistics.median(values)
