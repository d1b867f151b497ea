"""A variable of the environment, as the value that its type promises.

What cannot be read is a ValueError, whose text follows the variable's name in a sentence.
"""

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

Network = IPv4Network | IPv6Network


class Address(str):
    """An IP address to listen on."""

    __slots__ = ()


class Secret(str):
    """A text that does not show itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<hidden>" if self else "''"


def read(environ: Mapping[str, str], name: str, *, secret: bool) -> str:
    """Read a variable; a secret may also be in the file that `NAME_FILE` names."""
    given = environ.get(name, "").strip()
    path = environ.get(f"{name}_FILE", "") if secret else ""
    if not path:
        return given
    if given:
        raise ValueError(f"and {name}_FILE are both set: keep one of them")
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ValueError(f"cannot be read from the file {path} ({reason})") from None


def parse(text: str, hint: Any) -> Any:
    """Parse the text by its annotated type."""
    kind, meta = get_args(hint)
    if get_origin(kind) is tuple:
        parts = (part.strip() for part in text.split(","))
        return tuple(_one(part, get_args(kind)[0], meta) for part in parts if part)
    return _one(text, kind, meta)


def _one(text: str, kind: Any, meta: Meta) -> Any:
    if kind == Network:
        return _network(text)
    if kind is Address:
        return _address(text)
    if kind is int:
        return _whole_number(text, meta)
    if kind is bool:
        if text.lower() not in _BOOLS:
            raise ValueError(f"is {text!r}, but it must be 1 or 0")
        return _BOOLS[text.lower()]
    if get_origin(kind) is Literal:
        if text.upper() not in get_args(kind):
            raise ValueError(f"is {text!r}, but it must be one of {', '.join(get_args(kind))}")
        return text.upper()
    if meta.pattern and not re.search(meta.pattern, text):
        was = "" if kind is Secret else f"is {text!r}, but it "
        raise ValueError(f"{was}must look like {(meta.examples or [''])[0]}")
    if text.startswith("-----BEGIN"):
        text = text.replace("\\n", "\n").strip()  # how a key fits into one line of an .env file
    return kind(text)


_BOOLS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def _address(text: str) -> Address:
    try:
        return Address(ip_address(text))
    except ValueError:
        raise ValueError(f"is {text!r}, but it must be an address such as 127.0.0.1") from None


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError(
            f"is {text!r}, but it must be networks such as 10.0.0.0/8, by comma"
        ) from None


def _whole_number(text: str, meta: Meta) -> int:
    try:
        return msgspec.convert(text, Annotated[int, meta], strict=False)
    except msgspec.ValidationError:
        raise ValueError(
            f"is {text!r}, but it must be a whole number from {meta.ge} to {meta.le}"
        ) from None
