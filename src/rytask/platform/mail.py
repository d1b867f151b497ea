"""Mail by SMTP. Only jobs send it."""

import hashlib
import re
from email.message import EmailMessage
from email.utils import formataddr, formatdate, getaddresses, parseaddr
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib

from rytask.platform.text import BREAK

TIMEOUT = 20.0


class Delayed(Exception):
    """The server cannot take the message now; sending it again later may work."""


class Undeliverable(Exception):
    """The message will never be taken: sending it again is of no use."""


class BadAddress(ValueError):
    """An SMTP address or a sender that cannot be used, with one sentence that says why."""


class Mailer:
    """Sends plain text from one sender through one server.

    `smtp://user:pass@host:587` uses STARTTLS when the server offers it; `?starttls=require` insists
    on it, `?starttls=never` does without. `smtps://` is TLS from the first byte.
    """

    def __init__(
        self,
        host: str,
        port: int,
        sender: str,
        *,
        username: str | None = None,
        password: str | None = None,
        use_tls: bool = False,
        start_tls: bool | None = None,
    ) -> None:
        self._sender = _address(sender)
        self._domain = parseaddr(sender)[1].rpartition("@")[2]
        self._host, self._port = host, port
        self._username, self._password = username, password
        self._use_tls, self._start_tls = use_tls, start_tls

    @classmethod
    def read(cls, url: str, sender: str) -> Self:
        """Read SMTP_URL and MAIL_FROM. Raises BadAddress."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise BadAddress("its port is not a number") from None
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise BadAddress("it must look like smtp://user:password@host:587 or smtps://host")
        query = parse_qs(parts.query)
        starttls = query.pop("starttls", ["auto"])[-1]
        if query or starttls not in _STARTTLS:
            raise BadAddress("after the ? only starttls=auto, require or never is known")
        secure = parts.scheme == "smtps"
        return cls(
            parts.hostname,
            port or (465 if secure else 587),
            sender,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            use_tls=secure,
            start_tls=False if secure else _STARTTLS[starttls],
        )

    async def send(self, to: str, subject: str, text: str, *, id: str) -> None:
        """Hand one message to the server. The same `id` gives the same Message-ID, so that a mail
        sent twice is recognised. Raises Delayed or Undeliverable.
        """
        try:
            message = self._message(to, subject, text, id)
        except ValueError as error:
            raise Undeliverable(str(error)) from error
        try:
            await aiosmtplib.send(
                message,
                hostname=self._host,
                port=self._port,
                username=self._username,
                password=self._password,
                use_tls=self._use_tls,
                start_tls=self._start_tls,
                timeout=TIMEOUT,
                local_hostname="localhost",
            )
        except (aiosmtplib.SMTPException, OSError) as error:
            if _is_permanent(error):
                raise Undeliverable(f"the mail server refused the message: {error}") from error
            raise Delayed(f"the mail server did not take the message: {error}") from error

    async def check(self) -> None:
        """Say hello to the server, as for a message, and send none. Raises Delayed."""
        server = aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            username=self._username,
            password=self._password,
            use_tls=self._use_tls,
            start_tls=self._start_tls,
            timeout=5,
            local_hostname="localhost",
        )
        try:
            async with server:
                await server.ehlo()
        except (aiosmtplib.SMTPException, OSError) as error:
            raise Delayed(str(error)) from error

    def _message(self, to: str, subject: str, text: str, id: str) -> EmailMessage:
        message = EmailMessage()
        message["From"] = self._sender
        message["To"] = _address(to)
        message["Subject"] = re.sub(BREAK, " ", subject)
        message["Date"] = formatdate(usegmt=True)
        mark = hashlib.sha256(id.encode()).hexdigest()[:32]
        message["Message-ID"] = f"<{mark}@{self._domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        return message


_STARTTLS: dict[str, bool | None] = {"auto": None, "require": True, "never": False}


def _is_permanent(error: Exception) -> bool:
    """A 5xx about this message. A refused login is ours to repair: the mail can still go."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return all(map(_is_permanent, error.recipients))
    if isinstance(error, aiosmtplib.SMTPAuthenticationError | aiosmtplib.SMTPConnectError):
        return False
    return isinstance(error, aiosmtplib.SMTPResponseException) and 500 <= error.code < 600


def _address(text: str) -> str:
    """`Name <who@where>` or `who@where`, on one line. Raises BadAddress."""
    if re.search(BREAK, text):
        raise BadAddress("a mail address must be on one line")
    found = getaddresses([text])
    name, address = found[0] if len(found) == 1 else ("", "")
    local, _, domain = address.rpartition("@")
    if not local or not domain or any(char.isspace() or char in ",<>" for char in address):
        raise BadAddress(f"{text!r} is not a mail address")
    return formataddr((name, address)) if name else address
