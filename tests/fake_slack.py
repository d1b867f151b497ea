"""A stand-in for Slack on loopback that speaks its protocol, for tests, chaos runs and trying out.

`python -m tests.fake_slack --port 4444` runs it alone. `GET /_seen` lists what a person in Slack
would see, `POST /_faults` makes it misbehave, and `POST /_type` types a command into it.
"""

import argparse
import asyncio
import hashlib
import hmac
import json
import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import web

Json = dict[str, Any]
TOKEN = "xoxb-stand-in"


def signed(secret: str, body: bytes, timestamp: float | str | None = None) -> dict[str, str]:
    """The headers with which Slack signs a request."""
    at = timestamp if isinstance(timestamp, str) else str(int(timestamp or time.time()))
    proof = hmac.new(secret.encode(), b"v0:" + at.encode() + b":" + body, hashlib.sha256)
    return {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": at,
        "X-Slack-Signature": f"v0={proof.hexdigest()}",
    }


@dataclass
class Faults:
    """Which part of the calls fails, and how. `late` of those fail only after they took effect."""

    limited: float = 0.0
    broken: float = 0.0
    hanging: float = 0.0
    late: float = 0.0
    retry_after: int = 1
    hang: float = 0.1
    revoked: list[str] = field(default_factory=list)
    """Tokens that answer `token_revoked`."""
    scopes_missing: list[str] = field(default_factory=list)
    """Methods that answer `missing_scope`."""


@dataclass
class Message:
    """Something that a person sees. `times` counts how often it was posted or replaced."""

    where: str
    message: Json
    ts: str
    times: int = 1


@dataclass
class Hook:
    """A response URL: good for five posts, until it expires."""

    uses: int = 0
    expired: bool = False
    message: Message | None = None


class FakeSlack:
    """One Slack workspace and its Web API."""

    def __init__(self, *, seed: int = 0) -> None:
        self.url = ""
        self._seed = seed
        self.reset()

    def reset(self, team_id: str = "T0001") -> None:
        """Begin again as a workspace where nothing has happened."""
        self.team: Json = {"id": team_id, "name": "Acme", "domain": "acme"}
        self.tokens = {TOKEN}
        self.codes: set[str] = {"good-code"}
        self.users: list[Json] = []
        self.faults = Faults()
        self.calls: list[tuple[str, Json]] = []
        self.answered: Counter[str] = Counter()
        self.seen: list[Message] = []
        self.views: list[Json] = []
        self._hooks: dict[str, Hook] = {}
        self._random = random.Random(self._seed)
        self._sequence = 0

    @classmethod
    @asynccontextmanager
    async def running(cls, port: int = 0, *, seed: int = 0) -> "AsyncIterator[FakeSlack]":
        """Serve on loopback for the length of the block."""
        fake = cls(seed=seed)
        application = web.Application(client_max_size=2**20)
        application.router.add_routes(
            [
                web.route("*", "/api/{method}", fake._api),
                web.post("/response/{id:.+}", fake._respond),
                web.get("/oauth/v2/authorize", fake._consent),
                web.get("/_seen", fake._show),
                web.post("/_faults", fake._misbehave),
                web.post("/_type", fake._type),
            ]
        )
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield fake
        finally:
            await runner.cleanup()

    @property
    def api_base_url(self) -> str:
        return f"{self.url}/api/"

    def add_user(self, id: str, name: str, email: str | None = None, **more: Any) -> None:
        """Somebody in the workspace."""
        self.users.append(
            {
                "id": id,
                "team_id": self.team["id"],
                "name": name,
                "deleted": False,
                "is_bot": False,
                "is_email_confirmed": True,
                "profile": {"display_name": name, "real_name": name.title(), "email": email},
                **more,
            }
        )

    def response_url(self, message: Json | None = None) -> str:
        """A fresh one: of a command, or of a button in a message that is seen."""
        id = f"{self.team['id']}/{uuid.uuid4().hex}"
        self._hook(id).message = next((m for m in self.seen if m.message == message), None)
        return f"{self.url}/response/{id}"

    def expire(self, response_url: str) -> None:
        self._hook(response_url.removeprefix(f"{self.url}/response/")).expired = True

    def method_calls(self, method: str) -> list[Json]:
        """What was sent to one method, faults included."""
        return [sent for name, sent in self.calls if name == method]

    async def _api(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        sent = await _sent(request)
        return await self._maybe(request, method, sent, lambda: self._answer(request, method, sent))

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        sent = json.loads(await request.text())
        return await self._maybe(
            request, "response_url", sent, lambda: self._use(request.match_info["id"], sent)
        )

    async def _maybe(
        self, request: web.Request, name: str, sent: Json, effect: Any
    ) -> web.StreamResponse:
        """Do it, or fail before or after doing it."""
        self.calls.append((name, sent))
        faults, dice = self.faults, self._random.random()
        if dice < faults.limited:
            self.answered["limited"] += 1
            return web.json_response(
                {"ok": False, "error": "ratelimited"},
                status=429,
                headers={"Retry-After": str(faults.retry_after)},
            )
        if dice < faults.limited + faults.broken + faults.hanging:
            if self._random.random() < faults.late:
                effect()
            if dice < faults.limited + faults.broken:
                self.answered["broken"] += 1
                return web.Response(status=500, text="<html>oh no</html>", content_type="text/html")
            self.answered["hanging"] += 1
            await asyncio.sleep(faults.hang)
            if request.transport is not None:
                request.transport.close()
            return web.Response(status=504)
        self.answered["well"] += 1
        return effect()

    def _answer(self, request: web.Request, method: str, sent: Json) -> web.Response:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if method == "oauth.v2.access":
            return web.json_response(self._exchange(sent))
        if token in self.faults.revoked:
            return _error("token_revoked")
        if token not in self.tokens:
            return _error("invalid_auth")
        if method == "auth.revoke":
            self.faults.revoked.append(token)
            return web.json_response({"ok": True, "revoked": True})
        if method in self.faults.scopes_missing:
            return _error("missing_scope")
        answer = _METHODS.get(method)
        if answer is None:
            return _error("unknown_method")
        return web.json_response(answer(self, sent))

    def _exchange(self, sent: Json) -> Json:
        if sent.get("code") not in self.codes:
            return {"ok": False, "error": "invalid_code"}
        self.codes.discard(sent["code"])
        return {
            "ok": True,
            "access_token": self._new_token(),
            "token_type": "bot",
            "scope": "commands,chat:write,users:read,im:write,im:history",
            "bot_user_id": "UBOT",
            "app_id": "A0001",
            "team": {"id": self.team["id"], "name": self.team["name"]},
            "enterprise": None,
            "is_enterprise_install": False,
            "authed_user": {"id": "UADMIN"},
        }

    def _new_token(self) -> str:
        token = f"{TOKEN}-{uuid.uuid4().hex}"
        self.tokens.add(token)
        return token

    def _post(self, sent: Json) -> Json:
        message = Message(sent["channel"], sent, self._ts())
        self.seen.append(message)
        return {"ok": True, "channel": sent["channel"], "ts": message.ts, "message": sent}

    def _open_dm(self, sent: Json) -> Json:
        return {"ok": True, "channel": {"id": f"D{sent['users'].removeprefix('U')}"}}

    def _history(self, sent: Json) -> Json:
        found = [
            {"ts": m.ts, **m.message} for m in reversed(self.seen) if m.where == sent["channel"]
        ]
        if sent.get("include_all_metadata") not in (True, "1", 1):
            for one in found:
                one.pop("metadata", None)
        return {"ok": True, "messages": found[: int(sent.get("limit", 100))], "has_more": False}

    def _open_view(self, sent: Json) -> Json:
        if sent.get("trigger_id") == "expired":
            return {"ok": False, "error": "expired_trigger_id"}
        view = {"id": f"V{uuid.uuid4().hex[:10].upper()}", **sent["view"]}
        self.views.append(view)
        return {"ok": True, "view": view}

    def _list_users(self, sent: Json) -> Json:
        start, limit = int(sent.get("cursor") or 0), int(sent.get("limit", 200))
        more = str(start + limit) if start + limit < len(self.users) else ""
        return {
            "ok": True,
            "members": self.users[start : start + limit],
            "response_metadata": {"next_cursor": more},
        }

    def _one_user(self, sent: Json) -> Json:
        for user in self.users:
            if user["id"] == sent["user"]:
                return {"ok": True, "user": user}
        return {"ok": False, "error": "user_not_found"}

    def _own_team(self, sent: Json) -> Json:
        return {"ok": True, "team": self.team}

    def _ts(self) -> str:
        self._sequence += 1
        return f"{time.time():.0f}.{self._sequence:06d}"

    def _hook(self, id: str) -> Hook:
        return self._hooks.setdefault(id, Hook())

    def _use(self, id: str, sent: Json) -> web.Response:
        hook = self._hook(id)
        if hook.expired or hook.uses >= 5:
            error = "expired_url" if hook.expired else "used_url"
            return web.json_response({"ok": False, "error": error}, status=404)
        hook.uses += 1
        if sent.get("replace_original") and hook.message is not None:
            hook.message.message = sent
            hook.message.times += 1
        else:
            hook.message = Message(f"response_url:{id}", sent, self._ts())
            self.seen.append(hook.message)
        return web.json_response({"ok": True})

    async def _consent(self, request: web.Request) -> web.Response:
        """A person who always agrees."""
        code = uuid.uuid4().hex
        self.codes.add(code)
        answer = urlencode({"code": code, "state": request.query.get("state", "")})
        raise web.HTTPFound(f"{request.query['redirect_uri']}?{answer}")

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "messages": [asdict(message) for message in self.seen],
                "views": self.views,
                "calls": Counter(name for name, _ in self.calls),
                "answered": self.answered,
            }
        )

    async def _misbehave(self, request: web.Request) -> web.Response:
        for name, value in json.loads(await request.text()).items():
            if not hasattr(self.faults, name):
                raise web.HTTPBadRequest(text=f"there is no fault {name!r}\n")
            setattr(self.faults, name, value)
        return web.json_response(asdict(self.faults))

    async def _type(self, request: web.Request) -> web.Response:
        """Type `text` as `user` in `channel`; `to` is where RyTask is. Shows what it answers."""
        form = {**_TYPED, **(await request.post())}
        command = self.command(form["text"], user=form["user"], channel=form["channel"])
        url = f"{form['to']}/api/v1/integrations/slack/commands"
        headers = signed(form["secret"], command)
        try:
            async with (
                aiohttp.ClientSession() as http,
                http.post(url, data=command, headers=headers) as answer,
            ):
                return web.Response(status=answer.status, text=f"{await answer.text()}\n")
        except aiohttp.ClientError as error:
            return web.Response(status=502, text=f"RyTask does not answer: {error}\n")

    def command(
        self,
        text: str,
        *,
        user: str = "U1",
        channel: str = "C1",
        trigger: str | None = None,
        **more: str,
    ) -> bytes:
        """The body with which Slack delivers `/task text`."""
        return urlencode(
            {
                "token": "deprecated",
                "team_id": self.team["id"],
                "team_domain": self.team["domain"],
                "channel_id": channel,
                "channel_name": "general",
                "user_id": user,
                "user_name": "sam",
                "command": "/task",
                "text": text,
                "api_app_id": "A0001",
                "is_enterprise_install": "false",
                "response_url": self.response_url(),
                "trigger_id": trigger or uuid.uuid4().hex,
                **more,
            }
        ).encode()


_TYPED: Json = {
    "text": "",
    "user": "U1",
    "channel": "C1",
    "to": "http://localhost:3001",
    "secret": "stand-in-signing-secret",
}
_METHODS = {
    "auth.test": FakeSlack._own_team,
    "chat.postMessage": FakeSlack._post,
    "conversations.open": FakeSlack._open_dm,
    "conversations.history": FakeSlack._history,
    "views.open": FakeSlack._open_view,
    "users.list": FakeSlack._list_users,
    "users.info": FakeSlack._one_user,
    "team.info": FakeSlack._own_team,
}


async def _sent(request: web.Request) -> Json:
    if request.content_type == "application/json":
        return json.loads(await request.text() or "{}")
    return {**request.query, **(await request.post())}


def _error(code: str) -> web.Response:
    return web.json_response({"ok": False, "error": code})


async def _run(port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with FakeSlack.running(port) as fake:
        fake.add_user("U1", "founder", "founder@rytask.local")
        fake.add_user("U2", "sam", "sam@rytask.local")
        print(fake.url, flush=True)  # noqa: T201 - whoever started it needs the address
        await stop.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A stand-in for Slack.")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    asyncio.run(_run(parser.parse_args().port))
