import asyncio
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis.exceptions import ResponseError
from tests.platform.hanging_redis import hanging_redis

from rytask.platform import telemetry
from rytask.platform.redis_client import RedisUnavailable, RequestRedis


@asynccontextmanager
async def connected(
    url: str, *, patience: float = 5.0, rest: float = 0.0
) -> AsyncIterator[RequestRedis]:
    """Patient by default: a busy machine must not look like a Redis that is away."""
    redis = RequestRedis(url, timeout=patience, cooldown=rest, probe_interval=0.02)
    try:
        yield redis
    finally:
        await redis.close()


class Relay:
    """A way to Redis that can be made silent, and counts what passes."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._to = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._login = f":{parts.password}@" if parts.password else ""
        self.silent = False
        self.packets = 0
        self.url = ""
        self._tasks = set[asyncio.Task[None]]()

    async def __aenter__(self) -> "Relay":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"redis://{self._login}127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._to)
        for source, target in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._copy(source, target, count=source is reader))
            self._tasks.add(task)

    async def _copy(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, count: bool
    ) -> None:
        try:
            while chunk := await source.read(65536):
                self.packets += count
                if not self.silent:
                    target.write(chunk)
        except OSError:
            pass
        finally:
            target.close()


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not met():
            await asyncio.sleep(0.01)


async def is_away(redis: RequestRedis, command: str = "PING") -> bool:
    try:
        await redis.call(command)
    except RedisUnavailable:
        return True
    return False


async def test_each_caller_gets_the_reply_to_its_own_command(redis_url: str) -> None:
    async with connected(redis_url) as redis:
        names = [f"t:{uuid4()}" for _ in range(50)]
        await asyncio.gather(*(redis.call("SET", n, n, "EX", 60) for n in names))
        assert await asyncio.gather(*(redis.call("GET", n) for n in names)) == [
            n.encode() for n in names
        ]


async def test_calls_of_one_instant_travel_as_one_batch(redis_url: str) -> None:
    async with Relay(redis_url) as relay, connected(relay.url) as redis:
        await redis.call("PING")
        before = relay.packets
        await asyncio.gather(*(redis.call("ECHO", n) for n in range(30)))
        assert relay.packets == before + 1


async def test_calls_made_while_a_batch_is_under_way_are_the_next_batch() -> None:
    async with Scripted() as server, connected(server.url) as redis:
        first = redis.call("PING")
        await server.hears(1)
        others = [redis.call("PING") for _ in range(3)]
        await asyncio.sleep(0.05)
        assert server.heard.count(b"PING") == 1
        await server.says(b"+1\r\n")
        await server.hears(4)
        await server.says(b"+2\r\n+3\r\n+4\r\n")
        assert await asyncio.gather(first, *others) == [b"1", b"2", b"3", b"4"]


async def test_a_refused_command_hurts_nobody_else_in_its_batch(redis_url: str) -> None:
    async with connected(redis_url) as redis:
        first, second, third = await asyncio.gather(
            redis.call("PING"),
            redis.call("NOSUCHCOMMAND"),
            redis.call("ECHO", "x"),
            return_exceptions=True,
        )
        assert (first, third) == (b"PONG", b"x")
        assert isinstance(second, ResponseError)
        assert not redis.unavailable


async def test_a_caller_that_gives_up_hurts_nobody_else(redis_url: str) -> None:
    async with connected(redis_url) as redis:
        leaving, staying = redis.call("ECHO", "a"), redis.call("ECHO", "b")
        leaving.cancel()
        assert await staying == b"b"
        assert await redis.call("ECHO", "c") == b"c"


async def test_three_batches_are_all_that_a_hanging_redis_ever_gets() -> None:
    async with hanging_redis() as hanging, connected(hanging.url, patience=0.02) as redis:
        redis._probe_interval = 60
        for _ in range(3):
            assert not redis.unavailable
            lost = await asyncio.gather(*(is_away(redis) for _ in range(20)))
            assert all(lost)
        assert redis.unavailable
        assert all([await is_away(redis) for _ in range(20)])
        assert hanging.calls == 3


async def test_a_request_that_asks_again_after_a_failure_does_not_wait_again() -> None:
    async with hanging_redis() as hanging, connected(hanging.url, patience=0.02, rest=60) as redis:
        assert [await is_away(redis) for _ in range(3)] == [True] * 3
        assert hanging.calls == 1
        assert not redis.unavailable


async def test_whoever_comes_while_a_batch_hangs_fails_with_it() -> None:
    async with hanging_redis() as hanging, connected(hanging.url, patience=0.1) as redis:
        first = asyncio.create_task(is_away(redis))
        await until(lambda: hanging.calls == 1)
        assert await is_away(redis)
        assert first.done()
        assert hanging.calls == 1


async def test_a_redis_that_cannot_be_reached_is_away_after_three_failures() -> None:
    async with connected("redis://127.0.0.1:1") as redis:
        assert [await is_away(redis) for _ in range(4)] == [True] * 4
        assert redis.unavailable
        assert b"rytask_redis_away 1.0" in telemetry.render()[0]


async def test_a_redis_that_is_down_at_the_start_costs_no_request_anything() -> None:
    async with connected("redis://127.0.0.1:1") as redis:
        await redis.start()
        assert redis.unavailable


async def test_a_probe_brings_redis_back_without_any_request(redis_url: str) -> None:
    async with Relay(redis_url) as relay, connected(relay.url, patience=0.2) as redis:
        await redis.start()
        relay.silent = True
        for _ in range(3):
            assert await is_away(redis)
        assert redis.unavailable
        relay.silent = False
        await until(lambda: not redis.unavailable)
        assert await redis.call("PING") == b"PONG"
        assert b"rytask_redis_away 0.0" in telemetry.render()[0]


async def test_a_connection_that_was_closed_while_idle_costs_nobody_anything(
    redis_url: str,
) -> None:
    async with connected(redis_url) as redis, connected(redis_url) as other:
        mine = await redis.call("CLIENT", "ID")
        await other.call("CLIENT", "KILL", "ID", mine)
        await asyncio.sleep(0.05)
        assert await redis.call("PING") == b"PONG"


async def test_a_connection_that_was_reset_while_idle_costs_nobody_anything() -> None:
    async with Scripted() as server, connected(server.url) as redis:
        asked = redis.call("PING")
        await server.hears(1)
        await server.says(b"+first\r\n")
        assert await asked == b"first"
        server.resets()
        await asyncio.sleep(0.05)
        asked = redis.call("PING")
        await until(lambda: len(server.lines) == 2)
        await server.hears(2)
        await server.says(b"+second\r\n")
        assert await asked == b"second"
        assert not redis._failures


async def test_waiting_calls_are_refused_when_the_process_ends() -> None:
    async with hanging_redis() as hanging, connected(hanging.url, patience=60) as redis:
        waiting = redis.call("PING")
        await until(lambda: hanging.calls == 1)
        await redis.close()
        with pytest.raises(RedisUnavailable):
            await waiting


class Scripted:
    """A Redis that says what the test tells it to, and keeps what it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.heard = b""
        self.lines: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "Scripted":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for line in self.lines:
            line.close()
        await asyncio.sleep(0.01)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.lines.append(writer)
        with suppress(OSError):
            while chunk := await reader.read(65536):
                self.heard += chunk

    async def hears(self, count: int) -> None:
        await until(lambda: self.heard.count(b"PING") == count)

    async def says(self, words: bytes) -> None:
        self.lines[-1].write(words)
        await asyncio.sleep(0.01)

    def resets(self) -> None:
        """End the last line as a machine that was restarted does: with RST, not FIN."""
        line = self.lines[-1]
        linger = struct.pack("ii", 1, 0)
        line.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        line.transport.abort()


async def test_a_reply_may_come_in_pieces_and_two_in_one() -> None:
    async with Scripted() as server, connected(server.url) as redis:
        first, second, third = redis.call("PING"), redis.call("PING"), redis.call("PING")
        await server.hears(3)
        for piece in (b"$5\r\nhe", b"llo\r", b"\n*2\r\n:1\r\n$-1\r", b"\n+O", b"K\r\n"):
            await server.says(piece)
        assert (await first, await second, await third) == (b"hello", [1, None], b"OK")


async def test_a_late_reply_is_never_given_to_a_later_call() -> None:
    async with Scripted() as server, connected(server.url, patience=0.05) as redis:
        assert await is_away(redis)
        await server.says(b"+late\r\n")
        redis._timeout = 5
        asked = redis.call("PING")
        await until(lambda: len(server.lines) == 2)
        await server.hears(2)
        server.lines[0].write(b"+later\r\n")
        await server.says(b"+mine\r\n")
        assert await asked == b"mine"


@pytest.mark.parametrize("reading", [False, True], ids=["in a task", "while reading"])
async def test_an_answer_that_came_while_we_stalled_is_an_answer(reading: bool) -> None:
    async with Scripted() as server, connected(server.url, patience=0.05) as redis:
        asked = redis.call("PING")
        await server.hears(1)

        def stall() -> None:
            server.lines[-1].write(b"+there\r\n")
            time.sleep(0.1)

        if reading:
            near, far = socket.socketpair()
            with near, far:
                loop = asyncio.get_running_loop()
                transport, _ = await loop.create_connection(lambda: Stalling(stall), sock=near)
                far.send(b"x")
                assert await asked == b"there"
                transport.close()
        else:
            stall()
            assert await asked == b"there"
        assert not redis._failures


class Stalling(asyncio.Protocol):
    """A connection whose data stall the process."""

    def __init__(self, stall: Callable[[], None]) -> None:
        self.data_received = lambda data: stall()


async def test_a_line_that_ends_under_a_batch_refuses_all_of_it_at_once() -> None:
    async with Scripted() as server, connected(server.url, patience=60) as redis:
        asked = [redis.call("PING") for _ in range(3)]
        await server.hears(3)
        await server.says(b"+only one\r\n")
        server.lines[-1].close()
        first, *others = await asyncio.gather(*asked, return_exceptions=True)
        assert first == b"only one"
        assert [type(other) for other in others] == [RedisUnavailable, RedisUnavailable]
        assert len(redis._failures) == 1


@pytest.mark.parametrize(
    "words", [b"-LOADING Redis is loading the dataset in memory\r\n", b"?what\r\n", b"+1\r\n+2\r\n"]
)
async def test_a_redis_that_is_not_ready_or_talks_nonsense_is_not_listened_to(
    words: bytes,
) -> None:
    async with Scripted() as server, connected(server.url, patience=60) as redis:
        asked = redis.call("PING")
        await server.hears(1)
        await server.says(words)
        with suppress(RedisUnavailable):
            assert await asked == b"1"
        again = redis.call("PING")
        await until(lambda: len(server.lines) == 2)
        await server.hears(2)
        await server.says(b"+fresh\r\n")
        assert await again == b"fresh"


async def test_a_login_that_is_refused_says_so_once(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = urlsplit(redis_url)._replace(
        netloc=f"no:body@{urlsplit(redis_url).netloc.split('@')[-1]}"
    )
    async with connected(wrong.geturl()) as redis:
        await redis.start()
        assert redis.unavailable
        with pytest.raises(RedisUnavailable):
            await redis.call("PING")
    assert "invalid username-password pair" in capsys.readouterr().out


async def test_a_database_that_is_not_there_is_not_mistaken_for_another(redis_url: str) -> None:
    async with connected(urlsplit(redis_url)._replace(path="/999").geturl()) as redis:
        with pytest.raises(RedisUnavailable) as refused:
            await redis.call("PING")
        assert "out of range" in str(refused.value.__cause__)


async def test_redis_may_be_a_socket_file(redis_url: str, tmp_path: Path) -> None:
    async with Relay(redis_url) as relay:
        server = await asyncio.start_unix_server(relay._accept, tmp_path / "redis.sock")
        url = f"unix://{relay._login}{tmp_path}/redis.sock?db=7&client_name=me"
        async with connected(url) as redis:
            assert b"name=me" in await redis.call("CLIENT", "INFO")
            assert b" db=7 " in await redis.call("CLIENT", "INFO")
        server.close()


async def test_tls_trusts_only_whom_the_url_says(redis_url: str, tmp_path: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate_for("localhost", tmp_path / "own.pem"))
    async with Relay(redis_url) as relay:
        server = await asyncio.start_server(relay._accept, "127.0.0.1", 0, ssl=tls)
        url = f"rediss://{relay._login}127.0.0.1:{server.sockets[0].getsockname()[1]}"
        trusting = f"{url}?ssl_ca_certs={tmp_path}/own.pem"
        for refused in (url, trusting):
            async with connected(refused) as redis:
                with pytest.raises(RedisUnavailable) as away:
                    await redis.call("PING")
                assert "CERTIFICATE_VERIFY_FAILED" in str(away.value.__cause__)
        async with connected(f"{trusting}&ssl_check_hostname=no") as redis:
            await redis.start()
            assert await redis.call("PING") == b"PONG"
        server.close()


def certificate_for(name: str, file: Path) -> Path:
    """A certificate that vouches for itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + certificate.public_bytes(pem))
    return file
