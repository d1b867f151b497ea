"""What a proof has found: figures, and whether each promise was kept."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One promise of one proof, or with `kept` None a figure that nothing is promised about."""

    proof: str
    what: str
    seen: str
    wanted: str = ""
    kept: bool | None = None


@dataclass
class Report:
    """The findings of a run, told as they come and printed as one table at the end."""

    console: Console = field(default_factory=lambda: Console(width=132))
    findings: list[Finding] = field(default_factory=list)
    proof: str = ""

    @property
    def broken(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.kept is False]

    def begin(self, proof: str) -> None:
        self.proof = proof
        self.say(f"[bold]{proof}[/bold] (load average {os.getloadavg()[0]:.1f})")

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False)

    def check(self, what: str, seen: object, wanted: str, kept: bool) -> None:
        """Note whether a promise was kept."""
        self._add(Finding(proof=self.proof, what=what, seen=str(seen), wanted=wanted, kept=kept))

    def equal(self, what: str, seen: int, wanted: int) -> None:
        """Note whether a count is what it must be."""
        self.check(what, seen, str(wanted), seen == wanted)

    def within(self, what: str, seconds: float, limit: float) -> None:
        """Note whether something was quick enough."""
        self.check(what, duration(seconds), f"< {duration(limit)}", seconds < limit)

    def note(self, what: str, seen: object) -> None:
        """Note a figure."""
        self._add(Finding(proof=self.proof, what=what, seen=str(seen)))

    def print(self) -> None:
        table = Table("proof", "what", "seen", "wanted", "", title="make chaos")
        before = ""
        for finding in self.findings:
            if finding.proof != before:
                table.add_section()
            table.add_row(
                finding.proof if finding.proof != before else "",
                finding.what,
                finding.seen,
                finding.wanted,
                _mark(finding),
            )
            before = finding.proof
        self.console.print(table)
        load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
        self.say(f"Load average {load} on {os.cpu_count()} cores.")

    def _add(self, finding: Finding) -> None:
        self.findings.append(finding)
        wanted = f" (wanted {finding.wanted})" if finding.wanted else ""
        self.say(f"  {_mark(finding) or '·'} {finding.what}: {finding.seen}{wanted}")


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed; 0 when there is none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)] if ordered else 0.0


def duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if abs(seconds) >= 1 else f"{seconds * 1000:.1f} ms"


def _mark(finding: Finding) -> str:
    return {None: "", True: "[green]kept[/green]", False: "[red]BROKEN[/red]"}[finding.kept]
