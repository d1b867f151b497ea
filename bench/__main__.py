"""`make bench`: what requests and captures cost, beside bare ceilings in the same run.

With --sizes (at full size: 100,000 and 1,000,000) also latencies on a filled demo, held against
budgets; a row over its budget is a failure.

The server has one core; the load, PostgreSQL and Redis share another. Ratios hold on any machine,
the rest depends on this one.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path

import uvloop
from tests.fake_slack import FakeSlack

from bench import at_size, captures, cases, rig, size_rows
from bench.table import Acknowledged, Boot, Results, table
from rytask.platform import engines

ITEMS = (1_000, 100_000)
SIZES_AT_FULL = "100000,1000000"
_OTHERS = ("captures", "paced", "boot")
_BEGAN = time.monotonic()


@dataclass(frozen=True, kw_only=True)
class Size:
    """How long to look."""

    rounds: int
    seconds: float
    captures: int
    paced: float
    boots: int


SIZES = {
    "small": Size(rounds=3, seconds=1.0, captures=1_000, paced=10, boots=3),
    "full": Size(rounds=5, seconds=1.5, captures=3_000, paced=30, boots=5),
}


class Bench:
    """One run. `only` are parts of the names of what is wanted; without any, all of it."""

    def __init__(self, size: Size, only: list[str], redis_url: str, slack: FakeSlack) -> None:
        self._size, self._only, self._redis_url, self._slack = size, only, redis_url, slack
        self.results = Results()

    def _wanted(self, name: str) -> bool:
        return not self._only or any(part in name for part in self._only)

    async def run(self, server_url: str, sizes: Sequence[int]) -> None:
        if any(self._wanted(name) for name in (*cases.NAMES, *_OTHERS)):
            for items in ITEMS:
                async with rig.database(server_url, f"rytask_bench_{items}") as url:
                    await self._at(url, items)
        if not self._only or any(part.startswith(size_rows.GROUPS) for part in self._only):
            for items in sizes:
                async with rig.database(server_url, f"rytask_bench_{items}") as url:
                    await self._at_size(url, items)

    async def _at_size(self, url: str, items: int) -> None:
        env = rig.environment(url, self._redis_url, self._slack)
        _print(f"filling a demo with {items:,} items")
        self.results.fills.append(await at_size.fill(env, url, items))
        self.results.latencies += await at_size.measure(
            env, items, wanted=self._wanted, progress=_print
        )

    async def _at(self, url: str, items: int) -> None:
        self._slack.reset()
        self._slack.add_user("U1", "olive", rig.EMAIL)
        env = rig.environment(url, self._redis_url, self._slack)
        with ExitStack() as stack:
            api = stack.enter_context(rig.api(env))
            await api.ready()
            _print(f"filling a project with {items:,} items")
            dataset = await rig.prepare(url, api.port, self._slack, items)
            await captures.wait_until_idle(env, self._slack, api.port)
            await self._requests(dataset, api, stack)
            if items == ITEMS[-1]:
                await self._captures(env, dataset, api)
        if items == ITEMS[-1]:
            await self._boots(env)

    async def _requests(self, dataset: rig.Dataset, api: rig.Process, stack: ExitStack) -> None:
        bare = cases.ceiling_of(dataset, stack)
        await bare.ready(cases.ceiling.HEALTH)
        servers = cases.Servers(api, bare, await rig.PostgresServer.of(dataset.database_url))
        size = self._size
        for case in cases.cases(dataset, await dataset.sign_in(api.port), self._slack):
            if self._wanted(case.name):
                _print(f"{case.name} at {dataset.items:,} items")
                self.results.rounds += await cases.measure(
                    dataset, case, servers, rounds=size.rounds, seconds=size.seconds
                )

    async def _captures(self, env: dict[str, str], dataset: rig.Dataset, api: rig.Process) -> None:
        if self._wanted("captures"):
            for workers in (1, 2):
                _print(f"captures with {workers} worker(s)")
                self.results.backlogs.append(
                    await captures.backlog(
                        env,
                        self._slack,
                        api.port,
                        workers=workers,
                        captures=self._size.captures,
                    )
                )
                await dataset.delete_new_rows()
        if self._wanted("paced"):
            _print("acknowledgements at 100 a second")
            seen = await captures.acknowledged(
                env, self._slack, api.port, rate=100, seconds=self._size.paced
            )
            self.results.acknowledged = Acknowledged(
                rate=100,
                p50=seen.percentile(0.5) * 1e3,
                p99=seen.percentile(0.99) * 1e3,
                failed=seen.count - seen.good,
            )

    async def _boots(self, env: dict[str, str]) -> None:
        for role, start in (("api", rig.api), ("worker", rig.worker)):
            if not self._wanted("boot"):
                continue
            _print(f"booting the {role}")
            for _ in range(self._size.boots):
                began = time.perf_counter()
                with start(env) as process:
                    await process.ready()
                    seconds = time.perf_counter() - began
                    await asyncio.sleep(2)
                    memory = process.memory
                self.results.boots.append(
                    Boot(role=role, seconds=seconds, rss=memory.rss, pss=memory.pss)
                )


async def main(size: str, sizes: list[int], only: list[str], file: Path | None) -> int:
    os.sched_setaffinity(0, rig.REST)
    async with AsyncExitStack() as stack:
        slack = await stack.enter_async_context(FakeSlack.running())
        server_url, redis_url = os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
        if not (server_url and redis_url):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rytask-bench-"))
            _print("starting PostgreSQL and Redis")
            started = stack.enter_context(engines.running(Path(folder) / "data"))
            server_url, redis_url = started.database_url, started.redis_url
        bench = Bench(SIZES[size], only, redis_url, slack)
        await bench.run(server_url, sizes)
    results = bench.results
    print(table(results, ITEMS, size=size, seconds=time.monotonic() - _BEGAN))
    if file is not None:
        file.write_text(json.dumps(results.raw(), indent=1) + "\n")
    return 1 if results.failed or any(one.over for one in results.latencies) else 0


def _print(what: str) -> None:
    print(f"{time.monotonic() - _BEGAN:5.0f} s  {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument(
        "--only",
        default="",
        help="parts of names, by comma: health,item,list,create,login,Slack,captures,paced,boot;"
        f" and of rows at size: {','.join(size_rows.GROUPS)}",
    )
    parser.add_argument(
        "--sizes",
        help="how many items the demos have whose latencies are measured, by comma;"
        f" {SIZES_AT_FULL} at full size, else none",
    )
    parser.add_argument("--json", type=Path, help="write the raw figures to this file")
    given = parser.parse_args()
    if given.sizes is None:
        given.sizes = SIZES_AT_FULL if given.size == "full" else ""
    sizes = [int(size) for size in given.sizes.split(",") if size]
    only = [part for part in given.only.split(",") if part]
    sys.exit(uvloop.run(main(given.size, sizes, only, given.json)))
