"""The directory that holds the engines' data, our secrets, and the claim on both."""

import fcntl
import os
import pwd
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rytask.platform.engines.launch import WORKING_DIRECTORY
from rytask.platform.engines.supervisor import User
from rytask.platform.errors import CannotRun

_SECONDS_TO_END = 15.0
_KEPT = "kept.env"


@dataclass(frozen=True, kw_only=True)
class DataDir:
    """A data directory that is ours while we live."""

    path: Path
    lock: int
    """Inherited by all we start: who holds it next knows that none of ours is left."""

    @property
    def user(self) -> User:
        """The engines' user: never root, for PostgreSQL refuses to."""
        owner = self.path.stat().st_uid if os.geteuid() == 0 else os.geteuid()
        try:
            entry = pwd.getpwuid(owner) if owner else pwd.getpwnam("nobody")
        except KeyError:
            who = f"the user with id {owner}" if owner else "a user named nobody"
            raise CannotRun(f"PostgreSQL cannot run: this machine does not know {who}") from None
        return User(uid=entry.pw_uid, gid=entry.pw_gid)

    @property
    def here(self) -> str:
        """The directory as an engine that is started in it names it."""
        other = self.user.uid != os.geteuid()
        return f"/proc/self/fd/{WORKING_DIRECTORY}" if other else "."

    def made(self, name: str, user: User) -> Path:
        """A private directory of that user in here, made if need be."""
        path = self.path / name
        if not path.exists():
            path.mkdir(mode=0o700)
            os.chown(path, user.uid, user.gid)
        elif path.stat().st_uid != user.uid:
            raise CannotRun(
                f"{path} belongs to user {path.stat().st_uid} and not to user {user.uid}: "
                "start as the user who made it"
            )
        return path

    def kept(self, name: str, make: Callable[[], str]) -> str:
        """The value of that name, made once and kept where only its owner reads it."""
        values = self._read()
        if name not in values:
            self._write(values | {name: make()})
        return self._read()[name]

    def keep(self, values: Mapping[str, str]) -> None:
        """Keep these values too, or from now on."""
        self._write({**self._read(), **values})

    def password(self, name: str) -> str:
        return self.kept(name, lambda: secrets.token_urlsafe(32))

    def port(self, name: str) -> int:
        """The loopback port of that name: the same each time, unless another program took it."""
        port = int(self.kept(name, _free_port))
        if not is_free("127.0.0.1", port):
            port = int(_free_port())
            self._write(self._read() | {name: str(port)})
        return port

    def _read(self) -> dict[str, str]:
        return saved_settings(self.path)

    def _write(self, values: dict[str, str]) -> None:
        draft = self._file.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.writelines(f"{name}={value}\n" for name, value in values.items())
            file.flush()
            os.fsync(file.fileno())
        if os.geteuid() == 0:
            os.chown(draft, self.path.stat().st_uid, -1)
        draft.replace(self._file)

    @property
    def _file(self) -> Path:
        return self.path / _KEPT


def saved_settings(path: Path) -> dict[str, str]:
    """The settings and secrets that are kept in a data directory, by name."""
    try:
        lines = (path / _KEPT).read_text().splitlines()
    except OSError:
        return {}
    return dict(line.split("=", 1) for line in lines)


@contextmanager
def claimed(path: Path) -> Iterator[DataDir]:
    """Make the directory if need be and claim it: refused while another supervisor has it.

    After a supervisor was killed, this waits until the last of its programs has ended.
    """
    path = path.absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        ours = _opened(path / "supervisor.lock")
        theirs = _opened(path / "programs.lock")
    except OSError as error:
        raise CannotRun(f"{error.filename} cannot be used: {error.strerror}") from None
    try:
        if not _locked(ours):
            raise CannotRun(
                f"{path} is in use by another `rytask up` or `rytask engines`: "
                "stop that one, or choose another with --data-dir"
            )
        deadline = time.monotonic() + _SECONDS_TO_END
        while not _locked(theirs):
            if time.monotonic() > deadline:
                raise CannotRun(f"programs of an earlier run still work in {path}: stop them first")
            time.sleep(0.02)
        yield DataDir(path=path, lock=theirs)
    finally:
        os.close(theirs)
        os.close(ours)


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _free_port() -> str:
    # Below the range that systems hand out to clients, so it is still free after a restart.
    candidates = (20_000 + secrets.randbelow(12_000) for _ in range(1_000))
    return str(next(port for port in candidates if is_free("127.0.0.1", port)))


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
