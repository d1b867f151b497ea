"""What a process keeps in memory."""

import asyncio
import os
import sys
from pathlib import Path

from rytask.platform.crypto import Passwords
from rytask.serve import share_heap


def resident() -> float:
    """MiB of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def hash_many() -> None:
    passwords, before = Passwords(threads=8), resident()
    await asyncio.gather(*(passwords.hash("x") for _ in range(40)))
    print(resident() - before)  # noqa: T201 - for the test below
    passwords.close()


async def test_memory_of_password_hashes_goes_back_to_the_system() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __spec__.name), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert float(said) < 45  # two hashes of 19; with heaps of their own, eight threads keep 152


if __name__ == "__main__":
    share_heap()
    asyncio.run(hash_many())
