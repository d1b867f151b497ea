"""One person in several organizations: an account in each, with one address."""

from uuid import uuid4

import httpx
import pytest

from rytask.platform.crypto import Passwords
from tests.identity.signing import as_, mailed, signed_in
from tests.orgs.test_joining import invited
from tests.world import PASSWORD, World


async def joined(world: World, email: str, password: str, *, by_mail: bool = True) -> str:
    """Join by an invitation, as the owner of the address or as its sender; the organization."""
    _, token = await invited(world.owner, email=email)
    if by_mail:
        mail = (await mailed(world, email))[-1]
        token = mail.partition("/invite/")[2].split()[0]
    answer = await world.anonymous.post(
        f"/api/v1/invites/{token}/accept", json={"name": "Nora", "password": password}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["user"]["emailVerified"] is by_mail
    return str(world.org_id)


async def login(world: World, email: str, password: str, **more: str) -> httpx.Response:
    return await world.anonymous.post(
        "/api/v1/auth/login", json={"email": email, "password": password, **more}
    )


async def entered(world: World, answer: httpx.Response) -> str:
    """The organization that somebody signed in to."""
    assert answer.status_code == 200, answer.text
    me = await as_(world, answer.json()["accessToken"]).get("/api/v1/auth/whoami")
    return me.json()["organizationId"]


async def test_a_password_leads_to_the_account_that_it_fits(world: World) -> None:
    email, other = f"{uuid4().hex}@example.com", await world.elsewhere()
    here = await joined(world, email, "the password here")
    there = await joined(other, email, "the password there")
    assert await entered(world, await login(world, email, "the password here")) == here
    assert await entered(world, await login(world, email, "the password there")) == there
    assert (await login(world, email, "neither of them")).status_code == 401


async def test_who_has_one_password_for_several_accounts_names_the_organization(
    world: World,
) -> None:
    email, other = f"{uuid4().hex}@example.com", await world.elsewhere()
    for place in (world, other):
        await joined(place, email, PASSWORD)
    for place in (world, other):
        slug = (await place.owner.api.get("/api/v1/orgs/current")).json()["slug"]
        answer = await login(world, email, PASSWORD, organization=slug)
        assert await entered(world, answer) == str(place.org_id)
    nowhere = await login(world, email, PASSWORD, organization="nobody-has-this-slug")
    assert (nowhere.status_code, nowhere.json()["code"]) == (401, "auth.invalid_credentials")


async def test_nobody_takes_an_address_away_from_other_organizations(world: World) -> None:
    victim = await world.person()
    for _ in range(3):
        taker = await world.elsewhere()
        await joined(taker, victim.email, "a password of the taker", by_mail=False)
    async with world.database.transaction() as tx:  # the oldest comes first, unless one is proven
        await tx.execute(
            "UPDATE users SET created_at = now() + interval '1 day' WHERE id = $1", victim.id
        )
    answer = await login(world, victim.email, victim.password)
    assert await entered(world, answer) == str(world.org_id)


async def test_who_has_an_account_of_an_address_does_not_go_on_guessing_at_the_others(
    world: World,
) -> None:
    victim, taker = await world.person(), await world.elsewhere()
    await joined(taker, victim.email, "a password of the taker", by_mail=False)
    statuses = [
        (await login(world, victim.email, password)).status_code
        for password in (["a guess at it"] * 4 + ["a password of the taker"]) * 2
    ]
    assert statuses == [401] * 4 + [200, 401] + [429] * 4


@pytest.mark.parametrize("accounts", [0, 1, 2, 4])
async def test_as_many_passwords_are_compared_however_many_accounts_an_address_has(
    world: World, accounts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    email = f"{uuid4().hex}@example.com"
    for _ in range(accounts):
        await joined(await world.elsewhere(), email, PASSWORD, by_mail=False)
    for _ in range(2):
        await world.elsewhere()
    compared: list[str | None] = []
    verify = Passwords.verify

    async def counted(self: Passwords, kept: str | None, password: str) -> bool:
        compared.append(kept)
        return await verify(self, kept, password)

    monkeypatch.setattr(Passwords, "verify", counted)
    assert (await login(world, email, "not the password")).status_code == 401
    assert len(compared) == 3
    slug = (await world.owner.api.get("/api/v1/orgs/current")).json()["slug"]
    compared.clear()
    assert (await login(world, email, "wrong again", organization=slug)).status_code == 401
    assert len(compared) == 1


async def test_one_address_has_one_account_in_an_organization(world: World) -> None:
    await world.owner.api.patch("/api/v1/orgs/current", json={"allowPublicSignup": True})
    slug = (await world.owner.api.get("/api/v1/orgs/current")).json()["slug"]
    stranger = await world.stranger()
    body = {"name": "Nora", "email": stranger.email, "password": PASSWORD, "organization": slug}
    assert (await world.anonymous.post("/api/v1/auth/register", json=body)).status_code == 201
    again = await world.anonymous.post("/api/v1/auth/register", json=body)
    assert (again.status_code, again.json()["code"]) == (409, "user.email_taken")
    await signed_in(world, stranger.email)
