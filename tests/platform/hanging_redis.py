"""A server that accepts whatever is sent and never answers: a Redis that hangs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class HangingServer:
    """How often somebody called, and where."""

    def __init__(self) -> None:
        self.calls = 0
        self.url = ""


@asynccontextmanager
async def hanging_redis() -> AsyncIterator[HangingServer]:
    hanging, open_lines = HangingServer(), list[asyncio.StreamWriter]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hanging.calls += 1
        open_lines.append(writer)
        while await reader.read(65536):
            pass

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    hanging.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield hanging
    finally:
        server.close()
        for writer in open_lines:
            writer.close()
        await asyncio.sleep(0)
