"""The world of a test: an organization of its own in the real application on real engines."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID, uuid4

import httpx

from rytask import app, first_run
from rytask.app import Api
from rytask.platform import jobs, outbox
from rytask.platform.auth import permissions
from rytask.platform.db import Database
from rytask.platform.ids import OrgId, UserId, new_id
from rytask.platform.settings import Settings
from rytask.platform.work import Actor, OrgRole, Work, system

PASSWORD = "correct horse battery"


class Clock:
    """The application's clock: the real time, plus what a test has advanced it by."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    @property
    def now(self) -> datetime:
        return self()

    def set(self, to: datetime) -> None:
        self.ahead = to - datetime.now(UTC)

    def advance(self, by: timedelta) -> None:
        self.ahead += by


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody with an account, and a client that is signed in as them."""

    id: UserId
    email: str
    name: str
    actor: Actor
    token: str
    api: httpx.AsyncClient
    password: str = PASSWORD


@dataclass(frozen=True, kw_only=True)
class StarterProject:
    id: UUID
    key_prefix: str
    statuses: Mapping[str, UUID]
    """Ids by name: "To Do", "Done"."""


@dataclass(frozen=True)
class Mail:
    sender: str
    to: str
    content: str


class MailServer:
    """A small SMTP server that keeps what it is given."""

    def __init__(self) -> None:
        self.received: list[Mail] = []
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sender, to, content = "", "", None
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            if content is not None:
                if line == b".\r\n":
                    self.received.append(Mail(sender, to, content))
                    content = None
                    writer.write(b"250 kept\r\n")
                else:
                    content += line.decode()
                continue
            verb = line[:4].upper()
            if verb == b"MAIL":
                sender = re.findall(r"<(.*?)>", line.decode())[0]
            elif verb == b"RCPT":
                to = re.findall(r"<(.*?)>", line.decode())[0]
            elif verb == b"DATA":
                content = ""
                writer.write(b"354 go on\r\n")
                continue
            elif verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                break
            writer.write(b"250 ok\r\n")
        writer.close()


@dataclass(frozen=True, kw_only=True)
class Worlds:
    """The application of one test process, in which each test makes a world."""

    api: Api
    tools: jobs.Tools
    clock: Clock
    password_hash: str
    mail_server: MailServer
    transport: httpx.ASGITransport

    @classmethod
    @asynccontextmanager
    async def running(cls, database_url: str, redis_url: str, **more: str) -> AsyncIterator[Self]:
        clock, mail_server = Clock(), MailServer()
        async with mail_server.running():
            settings = Settings.read(environ(database_url, redis_url, mail_server.port) | more)
            async with (
                app.api(settings, clock=clock) as api,
                app.worker(settings, lambda: None, clock=clock) as worker,
            ):
                yield cls(
                    api=api,
                    tools=worker.tools,
                    clock=clock,
                    password_hash=await api.passwords.hash(PASSWORD),
                    mail_server=mail_server,
                    transport=httpx.ASGITransport(api.application, raise_app_exceptions=True),
                )

    @asynccontextmanager
    async def new(self) -> AsyncIterator["World"]:
        self.clock.ahead = timedelta()
        self.mail_server.received.clear()
        async with self.api.work.database.transaction() as tx:
            await tx.execute("DELETE FROM jobs")  # what an earlier test left to be tried again
        world = await World.made(self)
        try:
            yield world
        finally:
            for client in world.clients:
                await client.aclose()


def environ(database_url: str, redis_url: str, smtp_port: int) -> dict[str, str]:
    """The settings of the tests. Limits are out of the way; who tests them sets their own."""
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "JWT_SECRET": "tests: Kf83-hd92-Lm40-qwErTy-and-more",
        "APP_BASE_URL": "http://rytask.test",
        "THROTTLE_MAX_REQUESTS": "1000000",
        "AUTH_THROTTLE_MAX_REQUESTS": "1000000",
        "SMTP_URL": f"smtp://127.0.0.1:{smtp_port}?starttls=never",
        "MAIL_FROM": "RyTask <rytask@rytask.test>",
        "SLACK_CLIENT_ID": "1.2",
        "SLACK_CLIENT_SECRET": "slack client secret of the tests",
        "SLACK_SIGNING_SECRET": "8f742231b10e8888abcd99yyyzzz85a5,the one before",
        "SLACK_TOKEN_ENC_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        "SLACK_API_BASE_URL": "http://127.0.0.1:9/api/",
    }


@dataclass(kw_only=True)
class World:
    """One organization. Owners, members and strangers are made when asked for."""

    worlds: Worlds
    org_id: OrgId
    workspace_id: UUID
    owner: Person
    project: StarterProject
    anonymous: httpx.AsyncClient
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    @classmethod
    async def made(cls, worlds: Worlds) -> Self:
        mark = uuid4().hex[:12]
        async with worlds.api.work.writing(system(OrgId(new_id()))) as ctx:
            founded = await first_run.create_organization(
                ctx,
                organization_name=f"Org {mark}",
                owner_name="Olive Owner",
                owner_email=f"olive.{mark}@example.com",
                password_hash=worlds.password_hash,
            )
        anonymous = _client(worlds)
        world = cls(
            worlds=worlds,
            org_id=founded.org_id,
            workspace_id=founded.workspace_id,
            owner=_person(
                worlds,
                founded.org_id,
                founded.workspace_id,
                founded.owner_id,
                f"olive.{mark}@example.com",
                "Olive Owner",
                "OWNER",
            ),
            project=StarterProject(
                id=founded.project_id,
                key_prefix=founded.key_prefix,
                statuses=founded.statuses,
            ),
            anonymous=anonymous,
        )
        world.clients += [anonymous, world.owner.api]
        return world

    @property
    def settings(self) -> Settings:
        return self.worlds.api.settings

    @property
    def work(self) -> Work:
        return self.worlds.api.work

    @property
    def database(self) -> Database:
        return self.worlds.api.work.database

    @property
    def clock(self) -> Clock:
        return self.worlds.clock

    @property
    def tools(self) -> jobs.Tools:
        return self.worlds.tools

    @property
    def mails(self) -> list[Mail]:
        """Every mail that was sent in this test."""
        return self.worlds.mail_server.received

    async def person(
        self,
        role: OrgRole = "MEMBER",
        *,
        name: str | None = None,
        project_role: str | None = "MEMBER",
    ) -> Person:
        """A member of the organization, and of the starter project unless `project_role` is None.

        The local part of the e-mail is the name in lower case with a dot, and a mark.
        """
        mark = uuid4().hex[:8]
        name = name or f"Person {mark}"
        email = f"{name.lower().replace(' ', '.')}.{mark}@example.com"
        user_id = UserId(new_id())
        async with self.database.transaction() as tx:
            await tx.execute(
                "INSERT INTO users (id, org_id, email, name, password_hash, email_verified_at)"
                " VALUES ($1, $2, $3, $4, $5, now())",
                user_id,
                self.org_id,
                email,
                name,
                self.worlds.password_hash,
            )
            await tx.execute(
                "INSERT INTO memberships (org_id, user_id, role, workspace_id)"
                " VALUES ($1, $2, $3, $4)",
                self.org_id,
                user_id,
                role,
                self.workspace_id,
            )
            if project_role is not None:
                await tx.execute(
                    "INSERT INTO project_members (org_id, project_id, user_id, role)"
                    " VALUES ($1, $2, $3, $4)",
                    self.org_id,
                    self.project.id,
                    user_id,
                    project_role,
                )
        person = _person(self.worlds, self.org_id, self.workspace_id, user_id, email, name, role)
        self.clients.append(person.api)
        return person

    async def elsewhere(self) -> "World":
        """Another organization."""
        other = await World.made(self.worlds)
        self.clients += other.clients
        return other

    async def stranger(self) -> Person:
        """The owner of another organization."""
        return (await self.elsewhere()).owner

    async def run_jobs(self) -> list[str]:
        """Run what is due until nothing is; the errors of those that failed, in order."""
        errors = []
        while True:
            async with self.database.transaction() as tx:
                due = await outbox.take_due(tx, jobs.names(), 100)
                rows = await outbox.claim(tx, [row.id for row in due], jobs.names())
            if not rows:
                return errors
            for row in rows:
                try:
                    await jobs.registered(row.name).run(self.tools, row)
                except Exception as error:
                    errors.append(f"{row.name}: {error!r}")
                    after = error.after if isinstance(error, jobs.TryAgain) else None
                    async with self.database.transaction() as tx:
                        await outbox.fail(tx, row, repr(error), after=after)

    async def run_job(self, name: str) -> list[str]:
        """Run a scheduled job now, and whatever it asks for."""
        async with self.database.transaction() as tx:
            await tx.execute(
                "INSERT INTO jobs (name, arg, max_attempts) VALUES ($1, 'null', 1)", name
            )
        return await self.run_jobs()


def _client(worlds: Worlds, token: str | None = None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=worlds.transport,
        base_url="http://test",
        headers={"authorization": f"Bearer {token}"} if token else {},
    )


def _person(
    worlds: Worlds,
    org_id: OrgId,
    workspace_id: UUID,
    user_id: UserId,
    email: str,
    name: str,
    role: OrgRole,
) -> Person:
    actor = Actor(
        org_id=org_id,
        user_id=user_id,
        role=role,
        permissions=permissions(role, ()),
        workspace_id=workspace_id,
        session_id=new_id(),
        source="WEB",
    )
    token = worlds.api.bearers.issue(actor)
    return Person(
        id=user_id, email=email, name=name, actor=actor, token=token, api=_client(worlds, token)
    )
