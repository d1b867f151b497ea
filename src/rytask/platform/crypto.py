"""Passwords, secrets at rest, opaque tokens, and whether a key will do."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
import secrets
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECK = 6
_FORMAT, _NONCE = b"\x01", 12
T = TypeVar("T")


class Passwords:
    """argon2id in threads of its own, so that logins never stop the event loop."""

    def __init__(
        self,
        *,
        memory_cost: int = 19456,
        time_cost: int = 2,
        parallelism: int = 1,
        threads: int = 2,
    ) -> None:
        self._argon2 = PasswordHasher(
            memory_cost=memory_cost, time_cost=time_cost, parallelism=parallelism
        )
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        salt, never = (_unpadded(os.urandom(size)) for size in (16, 32))
        self._dummy_hash = (
            f"$argon2id$v=19$m={memory_cost},t={time_cost},p={parallelism}${salt}${never}"
        )

    async def hash(self, password: str) -> str:
        """Hash a password to store."""
        return await self._in_thread(self._argon2.hash, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is right. Nobody's (None) is always wrong, and takes as long."""
        return await self._in_thread(self._matches, password_hash or self._dummy_hash, password)

    def needs_rehash(self, password_hash: str) -> bool:
        """Whether it was hashed with other costs than are set now."""
        return self._argon2.check_needs_rehash(password_hash)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._argon2.verify(password_hash, password)
        except VerifyMismatchError:
            return False

    async def _in_thread(self, function: Callable[..., T], *args: str) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)


class BadKey(ValueError):
    """A key that cannot be used, with one sentence that says why."""


class Unsealable(Exception):
    """Sealed with a key that we do not have, for another row, or changed since."""


class Sealer:
    """Secrets at rest: AES-256-GCM. The first key seals, every key unseals.

    A sealed value is bound to where it is kept (`associated_data`, such as
    b"slack_workspaces/<id>"): moved elsewhere it cannot be unsealed.
    """

    def __init__(self, keys: dict[str, bytes]) -> None:
        if not keys:
            raise BadKey("at least one key is needed")
        for key in keys.values():
            if len(key) != 32:
                raise BadKey(f"a key must be 32 bytes, not {len(key)}")
        self._keys = {name.encode(): AESGCM(key) for name, key in keys.items()}
        self._first = next(iter(self._keys))

    @classmethod
    def read(cls, text: str) -> Self:
        """Read `key` or `id:key`, several separated by commas; keys are base64 of 32 bytes."""
        keys: dict[str, bytes] = {}
        for part in filter(None, map(str.strip, text.split(","))):
            name, _, encoded = part.rpartition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                raise BadKey("a key must be base64 of 32 bytes") from None
            name = name or hashlib.sha256(key).hexdigest()[:8]
            if name in keys or len(name) > 32 or not name.isascii():
                raise BadKey("key ids must differ, and be at most 32 plain characters")
            keys[name] = key
        return cls(keys)

    @classmethod
    def derived(cls, secret: str, purpose: str) -> Self:
        """A key of its own for one purpose, made from a secret that is there anyway."""
        return cls({purpose: hmac.digest(secret.encode(), b"seal/" + purpose.encode(), "sha256")})

    def seal(self, plain: bytes, associated_data: bytes) -> bytes:
        """Encrypt for one place. The same value never looks the same twice."""
        head = _FORMAT + bytes([len(self._first)]) + self._first
        nonce = os.urandom(_NONCE)
        return head + nonce + self._keys[self._first].encrypt(nonce, plain, head + associated_data)

    def unseal(self, sealed: bytes, associated_data: bytes) -> bytes:
        """Decrypt. Raises Unsealable."""
        if sealed[:1] != _FORMAT or len(sealed) < 2:
            raise Unsealable("this was not sealed here")
        end = 2 + sealed[1]
        head, nonce = sealed[:end], sealed[end : end + _NONCE]
        key = self._keys.get(head[2:])
        if key is None:
            raise Unsealable("the key that sealed this is not among the keys given")
        try:
            return key.decrypt(nonce, sealed[end + _NONCE :], head + associated_data)
        except (InvalidTag, ValueError):
            raise Unsealable("this was changed, or belongs elsewhere") from None


def token(prefix: str) -> str:
    """A fresh secret such as `rytask_pat_…`: 214 random bits, and a check sum for scanners."""
    return _with_checksum(prefix + "".join(secrets.choice(ALPHABET) for _ in range(36)))


def token_ok(text: str) -> bool:
    """Whether the check sum fits: what does not is no token of ours and needs no look-up."""
    return len(text) > _CHECK and text.isascii() and _with_checksum(text[:-_CHECK]) == text


def digest(text: str) -> bytes:
    """Hash a token to store. A token is random, so a plain SHA-256 is enough."""
    return hashlib.sha256(text.encode()).digest()


def successor(secret: str, text: str) -> str:
    """The token that follows a refresh token: always the same one, and only we can derive it."""
    prefix = text[: text.rfind("_") + 1]
    follows = hmac.digest(secret.encode(), b"successor/" + text.encode(), "sha256")
    return _with_checksum(prefix + _base62(int.from_bytes(follows), 43))


def is_rsa_pair(private: str, public: str) -> bool:
    """Whether these are the two halves of one RSA key of at least 2048 bits, in PEM."""
    try:
        key = load_pem_private_key(private.encode(), None)
        half = load_pem_public_key(public.encode())
    except (ValueError, TypeError):
        return False
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return (
        isinstance(key, RSAPrivateKey)
        and key.key_size >= 2048
        and key.public_key().public_bytes(*form) == half.public_bytes(*form)
    )


def guessable(secret: str) -> bool:
    """Whether it looks like the secret of an example, or like no random one."""
    plain = secret.lower().replace("_", "-")
    examples = ("change-me", "changeme", "example", "your-secret", "dev-secret", "password")
    return len(set(secret)) < 10 or any(word in plain for word in examples)


def _with_checksum(text: str) -> str:
    return text + _base62(zlib.crc32(text.encode()), _CHECK)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, rest = divmod(number, 62)
        digits.append(ALPHABET[rest])
    return "".join(reversed(digits))


def _unpadded(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")
