import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rytask.platform.crypto import (
    ALPHABET,
    BadKey,
    Passwords,
    Sealer,
    Unsealable,
    digest,
    successor,
    token,
    token_ok,
)


@pytest.fixture(scope="module")
def passwords():
    passwords = Passwords()
    yield passwords
    passwords.close()


async def test_only_the_right_password_is_right(passwords: Passwords) -> None:
    kept = await passwords.hash("correct horse")
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await passwords.verify(kept, "correct horse")
    assert not await passwords.verify(kept, "correct house")


async def test_nobodys_password_is_always_wrong(passwords: Passwords) -> None:
    assert not await passwords.verify(None, "")
    assert not await passwords.verify(None, "correct horse")


async def test_nobodys_password_is_checked_with_the_costs_of_everybodys() -> None:
    passwords = Passwords(memory_cost=32768, time_cost=3, parallelism=2)
    shape = (await passwords.hash("x")).split("$")
    nobody = passwords._dummy_hash.split("$")
    passwords.close()
    assert nobody[:4] == shape[:4]
    assert [len(part) for part in nobody[4:]] == [len(part) for part in shape[4:]]


async def test_a_password_hashed_at_lower_cost_is_to_be_hashed_again(
    passwords: Passwords,
) -> None:
    cheaper = Passwords(time_cost=1)
    kept = await cheaper.hash("x")
    cheaper.close()
    assert passwords.needs_rehash(kept)
    assert not passwords.needs_rehash(await passwords.hash("x"))


def key(byte: int) -> str:
    return base64.b64encode(bytes([byte]) * 32).decode()


@given(plain=st.binary(max_size=500), associated_data=st.binary(max_size=50))
def test_what_was_sealed_is_unsealed(plain: bytes, associated_data: bytes) -> None:
    sealer = Sealer.read(key(1))
    sealed = sealer.seal(plain, associated_data)
    assert sealer.unseal(sealed, associated_data) == plain
    assert sealer.seal(plain, associated_data) != sealed


def test_a_sealed_value_cannot_be_moved_to_another_row() -> None:
    sealer = Sealer.read(key(1))
    with pytest.raises(Unsealable):
        sealer.unseal(sealer.seal(b"xoxb-1", b"slack/1"), b"slack/2")


@given(st.data())
def test_any_changed_byte_is_noticed(data: st.DataObject) -> None:
    sealer = Sealer.read(key(1))
    sealed = bytearray(sealer.seal(b"xoxb-1", b"slack/1"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Unsealable):
        sealer.unseal(bytes(sealed), b"slack/1")


@given(st.binary(max_size=60))
def test_rubbish_is_never_unsealed(rubbish: bytes) -> None:
    with pytest.raises(Unsealable):
        Sealer.read(key(1)).unseal(b"\x01" + rubbish, b"")


def test_keys_rotate_the_first_seals_and_all_unseal() -> None:
    old, both = Sealer.read(key(1)), Sealer.read(f"2026:{key(2)}, {key(1)}")
    sealed = both.seal(b"new", b"row")
    assert both.unseal(old.seal(b"old", b"row"), b"row") == b"old"
    assert both.unseal(sealed, b"row") == b"new"
    assert Sealer.read(f"2026:{key(2)}").unseal(sealed, b"row") == b"new"
    with pytest.raises(Unsealable):
        old.unseal(sealed, b"row")


def test_keys_made_for_different_purposes_differ() -> None:
    one, other = Sealer.derived("secret", "a"), Sealer.derived("secret", "b")
    with pytest.raises(Unsealable):
        other.unseal(one.seal(b"x", b""), b"")


@pytest.mark.parametrize(
    "text", ["", ",", "short", "!!!!", key(1)[:-8], f"{key(1)},{key(1)}", f"ä:{key(1)}"]
)
def test_keys_of_another_shape_are_refused(text: str) -> None:
    with pytest.raises(BadKey):
        Sealer.read(text)


def test_tokens_are_long_different_and_checkable() -> None:
    tokens = {token("rytask_pat_") for _ in range(100)}
    assert len(tokens) == 100
    for text in tokens:
        assert text.startswith("rytask_pat_")
        assert len(text) == len("rytask_pat_") + 36 + 6
        assert token_ok(text)


@given(st.data())
def test_a_mistyped_token_is_noticed(data: st.DataObject) -> None:
    text = token("rytask_pat_")
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(ALPHABET))
    changed = text[:at] + other + text[at + 1 :]
    assert token_ok(changed) == (changed == text)


@given(st.text())
def test_no_text_breaks_the_check_of_tokens(text: str) -> None:
    token_ok(text)
    token_ok("rytask_pat_" + text)


def test_the_successor_of_a_refresh_token_is_always_the_same_and_secret() -> None:
    first = token("rytask_rt_")
    second = successor("secret", first)
    assert second == successor("secret", first)
    assert second != successor("another", first)
    assert second != successor("secret", token("rytask_rt_"))
    assert second.startswith("rytask_rt_")
    assert token_ok(second)
    assert len({digest(first), digest(second), digest(successor("secret", second))}) == 3


def test_a_token_is_kept_as_its_digest() -> None:
    assert digest("a") != digest("b")
    assert len(digest(os.urandom(9).hex())) == 32
