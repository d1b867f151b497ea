import asyncio
import email
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage

import pytest

from rytask.platform.mail import BadAddress, Delayed, Mailer, Undeliverable


class Server:
    """A small SMTP server: what it was given, and what it says to a command."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.logins: list[str] = []
        self.says: dict[str, str] = {}
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.says.get("CONNECT", "220 here").encode() + b"\r\n")
        while line := await reader.readline():
            verb = line.split()[0].decode().upper() if line.split() else ""
            usual = {"EHLO": "250-here\r\n250 AUTH PLAIN", "DATA": "354 go on", "QUIT": "221 bye"}
            said = self.says.get(verb, usual.get(verb, "250 fine"))
            if verb == "AUTH":
                self.logins.append(line.decode().split()[-1])
                said = self.says.get(verb, "235 welcome")
            writer.write(said.encode() + b"\r\n")
            if verb == "DATA" and said.startswith("354"):
                raw = await reader.readuntil(b"\r\n.\r\n")
                self.mails.append(email.message_from_bytes(raw[:-3], policy=email.policy.default))
                writer.write(self.says.get("DOT", "250 taken").encode() + b"\r\n")
            if verb == "QUIT":
                break
        writer.close()


@asynccontextmanager
async def smtp() -> AsyncIterator[Server]:
    server = Server()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"smtp://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        await asyncio.sleep(0)


def mailer(url: str) -> Mailer:
    return Mailer.read(url, "RyTask <rytask@example.com>")


async def test_a_mail_arrives_as_it_was_written() -> None:
    async with smtp() as server:
        text = "Grüße aus Köln,\n.\n..\nund 🎉\n"
        await mailer(server.url).send("Zoë <zoe@example.com>", "Schöne Grüße ✓", text, id="1")
    (mail,) = server.mails
    assert mail["Subject"] == "Schöne Grüße ✓"
    assert mail["To"] == "Zoë <zoe@example.com>"
    assert mail["From"] == "RyTask <rytask@example.com>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content().replace("\r\n", "\n") == text


async def test_a_mail_sent_again_has_the_same_message_id() -> None:
    async with smtp() as server:
        for id in ("reset-1", "reset-1", "reset-2"):
            await mailer(server.url).send("a@example.com", "x", "y", id=id)
    first, again, other = [mail["Message-ID"] for mail in server.mails]
    assert first == again != other
    assert first.endswith("@example.com>")


async def test_the_login_of_the_address_is_used() -> None:
    async with smtp() as server:
        url = server.url.replace("//", "//me%40example.com:p%2Fw@")
        await mailer(url).send("a@example.com", "x", "y", id="1")
    assert server.logins == ["AG1lQGV4YW1wbGUuY29tAHAvdw=="]


@pytest.mark.parametrize(
    ("to", "subject"),
    [
        ("a@example.com\r\nBcc: all@example.com", "x"),
        ("a@example.com\u2028", "x"),
        ("a@example.com, b@example.com", "x"),
        ("nobody", "x"),
        ("", "x"),
    ],
)
async def test_no_header_can_be_smuggled_in(to: str, subject: str) -> None:
    async with smtp() as server:
        with pytest.raises(Undeliverable):
            await mailer(server.url).send(to, subject, "y", id="1")
    assert server.mails == []


@pytest.mark.parametrize(
    "separator", ["\r\n", "\n", "\x0b", "\x1c", "\x85", "\u2028", "\u2029", "\x00"]
)
async def test_a_subject_is_one_line_whatever_is_in_it(separator: str) -> None:
    async with smtp() as server:
        await mailer(server.url).send("a@example.com", f"x{separator}Bcc: b@c.de", "y", id="1")
    (mail,) = server.mails
    assert " ".join(mail["Subject"].split()) == "x Bcc: b@c.de"
    assert mail["Bcc"] is None


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "DOT"])
async def test_a_mail_refused_for_good_is_undeliverable(verb: str) -> None:
    async with smtp() as server:
        server.says[verb] = "550 never"
        with pytest.raises(Undeliverable, match="never"):
            await mailer(server.url).send("a@example.com", "x", "y", id="1")


@pytest.mark.parametrize("verb", ["CONNECT", "MAIL", "RCPT", "DATA", "DOT"])
async def test_a_mail_refused_for_now_is_delayed(verb: str) -> None:
    async with smtp() as server:
        server.says[verb] = "451 later"
        with pytest.raises(Delayed, match="later"):
            await mailer(server.url).send("a@example.com", "x", "y", id="1")


async def test_a_refused_login_delays_the_mail_until_it_is_repaired() -> None:
    async with smtp() as server:
        server.says["AUTH"] = "535 who are you"
        with pytest.raises(Delayed):
            await mailer(server.url.replace("//", "//a:b@")).send("a@b.example", "x", "y", id="1")


async def test_a_server_that_is_away_delays_the_mail() -> None:
    with pytest.raises(Delayed):
        await mailer("smtp://127.0.0.1:1").send("a@example.com", "x", "y", id="1")


async def test_starttls_that_is_required_and_not_offered_sends_nothing_in_clear() -> None:
    async with smtp() as server:
        with pytest.raises(Delayed):
            await mailer(server.url + "?starttls=require").send("a@b.example", "x", "y", id="1")
    assert server.mails == []


@pytest.mark.parametrize(
    "url",
    [
        "http://mail",
        "smtp://",
        "mail:587",
        "smtp://mail:port",
        "smtp://m?starttls=x",
        "smtp://m?a=b",
    ],
)
def test_an_address_of_another_shape_is_refused(url: str) -> None:
    with pytest.raises(BadAddress):
        mailer(url)
