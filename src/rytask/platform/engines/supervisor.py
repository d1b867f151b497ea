"""Run programs, restart those that die, stop them in order, and leave none behind."""

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals

from rytask.platform.errors import CannotRun

_LAUNCH = Path(__file__).with_name("launch.py")
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 3.0
_LIVED_WELL = 5.0


@dataclass(frozen=True, kw_only=True)
class User:
    """The user a program runs as."""

    uid: int = field(default_factory=os.geteuid)
    gid: int = field(default_factory=os.getegid)


async def _at_once(pid: int) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program to run and supervise. `orphaned` is the signal it gets if we are killed."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    user: User = field(default_factory=User)
    cwd: Path = Path()
    stdin: bytes = b""
    stop: Signals = Signals.SIGTERM
    orphaned: Signals = Signals.SIGTERM
    before_start: Callable[[], None] = lambda: None
    ready: Callable[[int], Awaitable[bool]] = _at_once
    chatter: re.Pattern[bytes] = re.compile(rb"(?!)")
    """Lines that nobody needs to read: they are not forwarded."""


def launched(
    argv: Sequence[str], user: User | None = None, orphaned: Signals = Signals.SIGTERM
) -> list[str]:
    """The command line that runs `argv` as that user and ends it when the calling thread ends."""
    user = user or User()
    ids = [os.getpid(), int(orphaned), user.uid, user.gid]
    return [sys.executable, "-I", "-S", str(_LAUNCH), *map(str, ids), *argv]


def run_until_signalled(work: Coroutine[None, None, None]) -> None:
    """Run until the work is done or a signal ends it; further signals do not disturb its end."""

    async def main() -> None:
        task = asyncio.ensure_future(work)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # nohup
            asyncio.get_running_loop().add_signal_handler(
                number, lambda: task.cancelling() or task.cancel()
            )
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())


async def run_once(program: Program, *, lock: int, quiet: bool = False) -> str:
    """Run a program to its end; refused if it fails. What a quiet one says is seen only then.

    Otherwise it is returned.
    """
    process = await _spawn(program, lock, asyncio.subprocess.PIPE if quiet else sys.stderr.fileno())
    try:
        said, _ = await process.communicate()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.send_signal(program.stop)
        await process.wait()
        raise
    if process.returncode:
        _relay(program.name, said or b"")
        raise CannotRun(f"{program.name} failed ({_ending(process)}); its own words are above")
    return (said or b"").decode(errors="replace")


@asynccontextmanager
async def kept_running(
    programs: Sequence[Program], *, lock: int, grace: float
) -> AsyncIterator[None]:
    """Enter when all are ready, refused if one ends before; stop all together on the way out.

    What has not stopped after `grace` seconds is killed. The programs inherit `lock`.
    """
    keepers = [_Keeper(program, lock) for program in programs]
    try:
        for keeper in keepers:
            await keeper.wait_until_ready()
        yield
    finally:
        await asyncio.gather(*(keeper.stop(grace) for keeper in keepers))


async def answer(host: str, port: int, question: bytes) -> bytes:
    """The first words of the server there; none if it does not answer soon."""
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(question)
                return await reader.read(1024)
            finally:
                writer.close()
    except OSError:
        return b""


class _Keeper:
    """Keeps one program running until it is stopped."""

    def __init__(self, program: Program, lock: int) -> None:
        self._program = program
        self._lock = lock
        self._process: asyncio.subprocess.Process | None = None
        self._was_ready = False
        self._stopping = asyncio.Event()
        self._task = asyncio.create_task(self._keep())

    async def wait_until_ready(self) -> None:
        while not (self._process and await self._program.ready(self._process.pid)):
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0.02)
        self._was_ready = True

    async def stop(self, grace: float) -> None:
        self._stopping.set()
        self._ask_to_stop()
        await asyncio.wait({self._task}, timeout=grace)
        while not self._task.done():
            if self._process:
                _kill_group(self._process)
            await asyncio.wait({self._task}, timeout=1)
        self._task.exception()  # raised already to whoever waited for it to be ready

    async def _keep(self) -> None:
        pause = _SHORTEST_PAUSE
        while True:
            began = time.monotonic()
            try:
                ending = await self._live()
            except (CannotRun, OSError) as error:
                if not self._was_ready:
                    raise
                ending = str(error)
            if self._stopping.is_set():
                return
            if not self._was_ready:
                raise CannotRun(
                    f"{self._program.name} did not start ({ending}); its own words are above"
                )
            if time.monotonic() - began > _LIVED_WELL:
                pause = _SHORTEST_PAUSE
            _relay("rytask", f"{self._program.name} ended ({ending}); starting it again".encode())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
                return
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _live(self) -> str:
        """Start the program and return how it ended."""
        self._program.before_start()
        # Not asyncio's own pipes: with those, wait() may wait for grandchildren that hold them.
        output, theirs = os.pipe()
        try:
            process = await _spawn(self._program, self._lock, theirs)
        except BaseException:
            os.close(output)
            raise
        finally:
            os.close(theirs)
        log = _Log(self._program, output)
        try:
            self._process = process
            if self._stopping.is_set():
                self._ask_to_stop()
            await process.wait()
            # Its own workers may have outlived it; they would keep its port.
            _kill_group(process)
        finally:
            self._process = None
            log.close()
        return _ending(process)

    def _ask_to_stop(self) -> None:
        with suppress(ProcessLookupError):
            if self._process:
                self._process.send_signal(self._program.stop)


class _Log:
    """Forwards what a program prints, line by line, each with the program's name before it."""

    def __init__(self, program: Program, output: int) -> None:
        self._program = program
        self._output = output
        self._unfinished = b""
        os.set_blocking(output, False)
        asyncio.get_running_loop().add_reader(output, self._forward)

    def _forward(self) -> bool:
        """Forward what is there, and say whether there may be more."""
        try:
            chunk = os.read(self._output, 65536)
        except BlockingIOError:
            return False
        whole, _, self._unfinished = (self._unfinished + chunk).rpartition(b"\n")
        self._relay(whole)
        if not chunk:
            asyncio.get_running_loop().remove_reader(self._output)
        return bool(chunk)

    def close(self) -> None:
        while self._forward():
            pass
        self._relay(self._unfinished)
        asyncio.get_running_loop().remove_reader(self._output)
        os.close(self._output)

    def _relay(self, said: bytes) -> None:
        chatter = self._program.chatter
        lines = (line for line in said.splitlines() if not chatter.search(line))
        _relay(self._program.name, b"\n".join(lines))


async def _spawn(program: Program, lock: int, output: int) -> asyncio.subprocess.Process:
    stdin, ours = os.pipe()
    try:
        os.write(ours, program.stdin)
        os.close(ours)
        return await asyncio.create_subprocess_exec(
            *launched(program.argv, program.user, program.orphaned),
            stdin=stdin,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env=program.env,
            cwd=program.cwd,
            pass_fds=[lock],
            # A terminal's Ctrl-C reaches us alone, so we can stop them in order.
            start_new_session=True,
        )
    finally:
        os.close(stdin)


def _kill_group(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _ending(process: asyncio.subprocess.Process) -> str:
    code = process.returncode or 0
    return f"exit code {code}" if code >= 0 else Signals(-code).name


def _relay(name: str, said: bytes) -> None:
    lines = b"".join(b"%s | %s\n" % (name.encode(), line) for line in said.splitlines())
    # Nobody may be reading any more; the programs run on.
    with suppress(BrokenPipeError):
        sys.stderr.buffer.write(lines)
        sys.stderr.buffer.flush()
