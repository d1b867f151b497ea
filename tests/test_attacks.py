"""What an attacker would try, and does not get."""

import asyncio
import base64
import json
import re
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
from msgspec import inspect as types

from rytask import app
from rytask.platform import auth, crypto
from rytask.platform.auth import Bearers
from rytask.platform.errors import Refused, Unauthenticated
from rytask.platform.http import Route
from rytask.platform.work import Actor
from tests.identity.signing import as_, signed_in
from tests.test_every_route import ROUTES, Things, named
from tests.test_ugly_input import RouteCaller, fields
from tests.world import World


def names_something(field: types.Field) -> bool:
    """Whether a field holds ids."""
    kind = field.type
    kinds = kind.types if isinstance(kind, types.UnionType) else (kind,)
    kinds = [inner.item_type if isinstance(inner, types.ListType) else inner for inner in kinds]
    return any(isinstance(inner, types.UUIDType) for inner in kinds)


REFERENCES = [
    (route, part, field.encode_name)
    for route in ROUTES
    for part in ("data", "query")
    if part in route.parameters
    for field in fields(route, part)
    if names_something(field)
]
HARMLESS = {
    ("list_issues", "projectId"),  # an empty list
    ("unwatch_issue", "userId"),  # whoever does not watch does not watch
}


@pytest.mark.parametrize(
    ("route", "part", "name"), REFERENCES, ids=lambda value: getattr(value, "operation_id", value)
)
async def test_nothing_of_another_organization_can_be_named(
    world: World, route: Route, part: str, name: str
) -> None:
    caller = await RouteCaller.made(world, route)
    theirs = (await Things(await world.elsewhere()).made()).references()
    theirs |= {"reassignTo": theirs["statusId"]}
    before = await caller.facts()
    if part == "query":
        answer = await caller.send(f"{caller.path()}?{name}={theirs[name]}")
    else:
        answer = await caller.send(json=caller.body() | {name: theirs[name]})
    if (route.operation_id, name) in HARMLESS:
        assert answer.json().get("data", []) == [] if answer.content else True
    elif "/slack" in route.path:
        assert answer.json()["code"] == "slack.not_connected"
    else:
        assert answer.status_code in (404, 422), answer.text
    assert await caller.facts() == before


def claims_of(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in (header, claims)
    ]
    return ".".join([*parts, ""])


async def test_a_forged_access_token_opens_nothing(world: World) -> None:
    secret, claims = world.settings.jwt_secret, claims_of(world.owner.token)
    header, _, signature = world.owner.token.split(".")
    forged = [
        unsigned({"alg": "none", "typ": "JWT"}, claims),
        unsigned({"alg": "None"}, claims),
        world.owner.token.rpartition(".")[0] + ".",
        *(world.owner.token + more for more in ("=", "==", "!", "A")),
        f"{header}.{unsigned({}, claims | {'role': 'OWNER'}).split('.')[1]}.{signature}",
        jwt.encode(claims, "another secret that is long enough to sign with", algorithm="HS256"),
        jwt.encode(claims, secret * 2, algorithm="HS512"),
        jwt.encode(claims, secret * 2, algorithm="HS384"),
        *(
            jwt.encode(claims | changed, secret, algorithm="HS256")
            for changed in (
                *({"aud": "others"}, {"iss": "others"}, {"typ": "refresh"}, {"typ": None}),
                *({"exp": 1}, {"exp": "soon"}, {"sub": "me"}, {"org": None}, {"role": "ROOT"}),
                *({"scopes": None}, {"sid": "x"}, {"iat": "x"}, {"iat": None}),
            )
        ),
        *(
            jwt.encode({k: v for k, v in claims.items() if k != missing}, secret, algorithm="HS256")
            for missing in ("exp", "iat", "sub", "iss", "aud", "typ", "org", "role", "scopes")
        ),
    ]
    for token in forged:
        answer = await as_(world, token).get("/api/v1/auth/whoami")
        assert (answer.status_code, answer.json()["code"]) == (401, "auth.required"), token


async def test_a_public_key_signs_nothing(world: World) -> None:
    keys = app._keys(world.settings)
    rsa = type(keys)(
        algorithm="RS256",
        signing="",
        verifying="-----BEGIN PUBLIC KEY-----\nof somebody\n-----END PUBLIC KEY-----",
        issuer=keys.issuer,
        lifetime=keys.lifetime,
    )
    assert isinstance(world.worlds.api.bearers, Bearers)
    bearers = Bearers(rsa, world.worlds.api.bearers._look_up)
    with pytest.raises(Unauthenticated):
        await bearers.authenticate(world.owner.token)


async def test_tokens_that_nobody_has_are_not_looked_up_without_end(world: World) -> None:
    looked_up: list[str] = []

    async def look_up(token: str) -> Actor | None:
        looked_up.append(token)
        return world.owner.actor if token.startswith("good") else None

    bearers = Bearers(app._keys(world.settings), look_up, world.clock)
    tokens: dict[str, str] = {}

    async def outcome(name: str, network: str) -> str:
        token = tokens.setdefault(name, crypto.token(name.partition("-")[0]))
        try:
            await bearers.authenticate(token, network)
        except Refused as refused:
            return refused.code
        return "let in"

    assert {await outcome(f"good-{n}", "office") for n in range(200)} == {"let in"}
    codes = Counter([await outcome(f"bad-{n}", "office") for n in range(200)])
    assert codes == {"auth.required": 60, "auth.too_many_unknown_tokens": 140}
    assert len(looked_up) == 260
    # What has no check sum is refused without a look-up, and counts for nothing.
    with pytest.raises(Unauthenticated):
        await bearers.authenticate("rytask_pat_guessed", "office")
    assert await outcome("good-new", "office") == "auth.too_many_unknown_tokens"
    assert await outcome("good-new", "elsewhere") == "let in"
    world.clock.advance(timedelta(minutes=2))
    assert await outcome("good-7", "office") == "let in"


async def pat(api: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await api.post("/api/v1/api-tokens", json={"name": "ci", **body})


async def test_a_token_s_child_does_not_grow_with_its_owner_s_role(world: World) -> None:
    member = await world.person("MEMBER")
    everything_a_member_may = sorted(member.actor.permissions)
    parent = (await pat(member.api, scopes=everything_a_member_may)).json()["secret"]
    for scopes in ([], ["*"], [*everything_a_member_may, "members:write"]):
        answer = await pat(as_(world, parent), scopes=scopes)
        assert (answer.status_code, answer.json()["code"]) == (403, "token.beyond_own_scopes")
    assert (await pat(as_(world, parent), scopes=["work:read"])).status_code == 201


async def test_a_token_s_child_does_not_outlive_it(world: World) -> None:
    until = world.clock.now + timedelta(days=2)
    parent = (await pat(world.owner.api, expiresAt=until.isoformat())).json()["secret"]
    later = (until + timedelta(seconds=1)).isoformat()
    for body in ({}, {"expiresAt": None}, {"expiresAt": later}):
        answer = await pat(as_(world, parent), **body)
        assert (answer.status_code, answer.json()["code"]) == (403, "token.beyond_own_end")
    earlier = (until - timedelta(days=1)).isoformat()
    assert (await pat(as_(world, parent), expiresAt=earlier)).status_code == 201


async def test_a_token_ends_on_time_though_it_was_just_used(world: World) -> None:
    until = world.clock.now + timedelta(seconds=30)
    client = as_(world, (await pat(world.owner.api, expiresAt=until.isoformat())).json()["secret"])
    assert (await client.get("/api/v1/auth/whoami")).status_code == 200
    world.clock.set(until)
    assert (await client.get("/api/v1/auth/whoami")).status_code == 401


async def test_a_key_of_its_owner_tells_a_token_nothing(world: World) -> None:
    key = {"idempotency-key": "1"}
    body = {"name": "full", "scopes": ["tokens:write", "work:read"]}
    full = await world.owner.api.post("/api/v1/api-tokens", json=body, headers=key)
    narrow = (await pat(world.owner.api, scopes=["tokens:write"])).json()["secret"]
    answer = await as_(world, narrow).post("/api/v1/api-tokens", json=body, headers=key)
    assert answer.status_code == 403
    assert full.json()["secret"] not in answer.text


async def test_a_narrow_token_cannot_reach_the_account_itself(world: World) -> None:
    secret = (await pat(world.owner.api, scopes=["work:read", "work:write"])).json()["secret"]
    client = as_(world, secret)
    for method, path in (
        *(("PATCH", "auth/profile"), ("POST", "auth/change-password"), ("POST", "auth/logout")),
        *(("POST", "api-tokens"), ("POST", "invites"), ("PATCH", "orgs/current")),
        *(("DELETE", "orgs/current"), ("POST", "orgs/current/transfer-ownership")),
    ):
        answer = await client.request(method, f"/api/v1/{path}")
        assert answer.status_code == 403, (method, path)


async def test_nobody_rises_above_their_own_role(world: World) -> None:
    admin, member = await world.person("ADMIN"), await world.person("MEMBER")
    for answer in (
        await admin.api.post("/api/v1/invites", json={"role": "OWNER"}),
        await admin.api.patch(f"/api/v1/memberships/{admin.id}", json={"role": "OWNER"}),
        await admin.api.patch(f"/api/v1/memberships/{member.id}", json={"role": "OWNER"}),
        await admin.api.patch(f"/api/v1/memberships/{world.owner.id}", json={"role": "GUEST"}),
        await admin.api.delete(f"/api/v1/memberships/{world.owner.id}"),
        await member.api.patch(f"/api/v1/memberships/{member.id}", json={"role": "ADMIN"}),
        await member.api.post("/api/v1/invites", json={"role": "GUEST"}),
        await admin.api.post(
            "/api/v1/orgs/current/transfer-ownership", json={"toUserId": str(admin.id)}
        ),
    ):
        assert answer.status_code == 403, answer.request


async def test_another_spelling_of_an_address_does_not_unlock_it(world: World) -> None:
    email = (await world.person()).email
    spellings = [email, email.upper(), f" {email}", f"{email}\t", email.title()]
    for spelling in spellings:
        body = {"email": spelling, "password": "wrong"}
        assert (await world.anonymous.post("/api/v1/auth/login", json=body)).status_code == 401
    body = {"email": f"  {email.capitalize()}", "password": "wrong"}
    assert (await world.anonymous.post("/api/v1/auth/login", json=body)).status_code == 429


async def test_slack_s_callback_sends_the_browser_home_only(world: World) -> None:
    for query in (
        "?state=//evil.test&code=x",
        "?error=//evil.test",
        "?error=access_denied%0d%0aset-cookie:x",
        "?next=https://evil.test&redirect_uri=https://evil.test",
        "",
    ):
        answer = await world.anonymous.get(f"/integrations/slack/oauth/callback{query}")
        assert answer.status_code == 302
        assert re.fullmatch(
            r"http://rytask\.test/settings/integrations\?error=[a-z_]+", answer.headers["location"]
        )


async def test_every_answer_stays_out_of_caches_frames_and_guesses(world: World) -> None:
    for route in ROUTES:
        if route.operation_id == "get_style":
            continue
        path = re.sub(r"{\w+}", "x", route.path)
        answer = await world.anonymous.request(route.method, path)
        assert answer.headers["cache-control"] == "no-store", named(route)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "set-cookie" not in answer.headers


async def test_the_document_knows_no_secret_and_every_pattern_ends_at_the_end(world: World) -> None:
    document = (await world.anonymous.get("/api/v1/openapi.json")).text
    settings = world.settings
    signing = settings.slack_signing_secret
    for secret in (settings.jwt_secret, settings.slack_client_secret, *signing):
        assert secret not in document
    # Python's `$` stops before a line break, too; that of JSON Schema does not.
    for pattern in re.findall(r'"pattern":"((?:[^"\\]|\\.)*)"', document):
        written = json.loads(f'"{pattern}"').replace(r"\s*$", "")
        assert not re.search(r"\$(?!\(\?!)", written), pattern


async def test_an_accepted_invitation_lets_nobody_else_in(world: World) -> None:
    invite = (await world.owner.api.post("/api/v1/invites", json={"role": "MEMBER"})).json()
    path = f"/api/v1/invites/{invite['acceptUrl'].rpartition('/')[2]}/accept"
    statuses = [
        (
            await world.anonymous.post(
                path,
                json={"name": "Kim", "password": "long enough", "email": f"{n}.{world.org_id}@x.y"},
            )
        ).status_code
        for n in range(2)
    ]
    assert statuses == [200, 410]


async def test_a_deleted_organization_lets_nobody_in(world: World) -> None:
    session = await signed_in(world, world.owner.email)
    client = as_(world, (await pat(world.owner.api)).json()["secret"])
    assert (await world.owner.api.delete("/api/v1/orgs/current")).status_code == 204
    for answer in (
        await world.anonymous.post(
            "/api/v1/auth/login",
            json={"email": world.owner.email, "password": world.owner.password},
        ),
        await world.anonymous.post(
            "/api/v1/auth/refresh", json={"refreshToken": session["refreshToken"]}
        ),
        await client.get("/api/v1/auth/whoami"),
    ):
        assert answer.status_code == 401


async def test_one_failed_look_at_revocations_is_not_the_last(world: World) -> None:
    failures = ["the first look fails"]

    def clock() -> datetime:
        if failures:
            raise LookupError(failures.pop())
        return world.clock.now

    bearers = Bearers(app._keys(world.settings), world.worlds.api.bearers._look_up, clock)
    watching = asyncio.create_task(bearers.watch(world.database, interval=0.01))
    while failures:
        await asyncio.sleep(0.01)
    async with world.database.transaction() as tx:
        await auth.revoke(tx, world.owner.id)
    while world.owner.id not in bearers._revoked:
        await asyncio.sleep(0.01)
    with pytest.raises(Unauthenticated):
        await bearers.authenticate(world.owner.token)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
