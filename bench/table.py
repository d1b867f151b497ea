"""The table of a bench, and what it has to show."""

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from bench.captures import Backlog
from bench.cases import Round

REFERENCE = {
    "health": 103,
    "get item, JWT": 1_095,
    "get item, PAT": 1_730,
    "list of 50": 1_615,
    "create": 2_200,
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

    @property
    def failed(self) -> int:
        """Requests that were answered with an error."""
        paced = self.acknowledged.failed if self.acknowledged else 0
        return sum(one.failed for one in self.rounds) + paced

    def raw(self) -> dict[str, Any]:
        return asdict(self)

    def median(self, case: str, items: int, side: str, figure: str) -> float | None:
        """The median of a figure over the rounds, if there were any."""
        found = [
            getattr(one, figure)
            for one in self.rounds
            if (one.case, one.items, one.side) == (case, items, side)
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
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    lines += [
        "",
        f"{size}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {seconds:.0f} s; {os.cpu_count()} cores,"
        f" Python {platform.python_version()}, load average {load}; {results.failed} errors.",
        "CPU is that of the API process. Medians of rounds that alternate with the ceiling's.",
    ]
    return "\n".join(lines)


def _requests(results: Results, items: Sequence[int]) -> list[str]:
    lines = [
        f"{'request':<22}{'items':>8}{'CPU µs':>9}{'ceiling':>9}{'ratio':>7}{'req/s':>8}"
        f"{'p50 ms':>8}{'p99 ms':>8}{'reference':>11}{'less':>7}",
    ]
    for case in dict.fromkeys(one.case for one in results.rounds):
        for count in items:
            lines.append(_line(results, case, count))
        few, many = (results.median(case, count, "app", "cpu") for count in (items[0], items[-1]))
        if few and many:
            lines[-1] += f"   {many / few:.2f} × the cost at {items[0]:,}"
    return [*lines, ""]


def _line(results: Results, case: str, items: int) -> str:
    cpu = results.median(case, items, "app", "cpu") or 0.0
    bare = results.median(case, items, "ceiling", "cpu")
    rate, p50, p99 = (
        results.median(case, items, "app", it) or 0.0 for it in ("rate", "p50", "p99")
    )
    reference = REFERENCE[case]
    beside = f"{bare:9.0f}{cpu / bare:7.2f}" if bare else " " * 16
    return (
        f"{case:<22}{items:>8,}{cpu:9.0f}{beside}{rate:8.0f}{p50:8.2f}{p99:8.2f}"
        f"{reference:11,}{reference / cpu:6.1f}×"
    )


def _middle(values: Iterable[float]) -> float:
    return statistics.median(values)
