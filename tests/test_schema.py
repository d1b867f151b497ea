"""The migrations add up to schema.sql, which is there to be read."""

import os
import re
import subprocess
from importlib import resources

from rytask.platform.engines.binaries import find
from rytask.platform.engines.supervisor import User


def dumped(database_url: str) -> str:
    """The schema as pg_dump sees it, without what differs from run to run."""
    pg_dump = find("postgres", User(uid=os.geteuid(), gid=os.getegid())).with_name("pg_dump")
    dump = subprocess.run(
        [pg_dump, "--schema-only", "--no-owner", "--no-privileges", database_url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = [
        line
        for line in dump.splitlines()
        if line and not re.match(r"--|SET |SELECT pg_catalog|\\(un)?restrict", line)
    ]
    return "\n".join(lines) + "\n"


async def test_schema_sql_is_what_the_migrations_make(database_url: str) -> None:
    kept = resources.files("rytask").joinpath("migrations", "schema.sql").read_text()
    assert dumped(database_url) == kept
