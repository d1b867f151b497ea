"""What Slack sends, read without a server."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rytask.modules.slack import rules
from rytask.modules.slack.model import InstallStart
from rytask.platform.ids import OrgId, UserId
from tests.fake_slack import signed

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
NEW, OLD = "the new secret", "the old secret"
BODY = b"team_id=T1&text=Fix+login"


def is_signed(body: bytes, headers: dict[str, str], now: datetime = NOW) -> bool:
    return rules.is_signed(
        (NEW, OLD),
        body=body,
        timestamp=headers.get("X-Slack-Request-Timestamp"),
        signature=headers.get("X-Slack-Signature"),
        now=now,
    )


@pytest.mark.parametrize("secret", [NEW, OLD])
@pytest.mark.parametrize("seconds", [-299, 0, 299])
def test_both_secrets_of_a_rotation_are_good_within_five_minutes(secret: str, seconds: int) -> None:
    headers = signed(secret, BODY, NOW.timestamp())
    assert is_signed(BODY, headers, NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({}, "nothing"),
        ({"X-Slack-Request-Timestamp": "1772442000"}, "no signature"),
        (signed("another secret", BODY, NOW.timestamp()), "another secret"),
        (signed("", BODY, NOW.timestamp()), "no secret"),
        (signed(NEW, BODY + b"x", NOW.timestamp()), "another body"),
        (signed(NEW, BODY, NOW.timestamp() - 301), "stale"),
        (signed(NEW, BODY, NOW.timestamp() + 301), "from the future"),
        (signed(NEW, BODY, "soon"), "no number"),
        (signed(NEW, BODY, f"{NOW.timestamp():.0f}.0"), "no whole number"),
        (signed(NEW, BODY, "-1"), "a negative number"),
        (signed(NEW, BODY, "9" * 400), "a huge number"),
        (signed(NEW, BODY, "١٧٧٢٤٤٢٠٠٠"), "digits of another script"),
        ({**signed(NEW, BODY, NOW.timestamp()), "X-Slack-Signature": "v0="}, "empty"),
        ({**signed(NEW, BODY, NOW.timestamp()), "X-Slack-Signature": "v0=" + "ß" * 64}, "letters"),
        ({**signed(NEW, BODY, NOW.timestamp()), "X-Slack-Signature": "v0=" + "0" * 64}, "zeros"),
    ],
)
def test_anything_else_is_not_signed(headers: dict[str, str], why: str) -> None:
    assert not is_signed(BODY, headers), why


def test_bytes_that_are_no_text_are_not_signed() -> None:
    body = b"text=\xff\xfe"
    assert not is_signed(body, signed(NEW, body, NOW.timestamp()))


@given(st.binary(), st.text(), st.text())
def test_reading_a_signature_never_raises(body: bytes, timestamp: str, signature: str) -> None:
    headers = {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": signature}
    assert not is_signed(body, headers)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Fix login", "Fix login"),
        ("a &lt;b&gt; &amp; c", "a <b> & c"),
        ("&amp;lt;", "&lt;"),
        ("for <@U1|sam> and <@U2>", "for @sam.field and @dana"),
        ("for <@U9|zoe> and <@U8>", "for @zoe and @U8"),
        ("for <@W7|Kim Li>", "for @Kim.Li"),
        ("see <#C1|bug>, <#C2|>, <#C3>", "see #bug, \\#C2, \\#C3"),
        ("<!here> <!channel> <!subteam^S1|@ops>", "\\@here \\@channel \\@ops"),
        ("<!date^1392734382^{date}|18 Feb>", "18 Feb"),
        ("<https://a.test/x?a=1&amp;b=2>", "https://a.test/x?a=1&b=2"),
        ("<https://a.test|the site>", "the site (https://a.test)"),
        ("<http://a.test|a.test>", "a.test"),
        ("<mailto:a@b.test|a@b.test>", "a@b.test"),
        ("1 &lt; 2 <", "1 < 2 <"),
        ("<>", "<>"),
    ],
)
def test_markup_reads_as_it_would_be_typed(written: str, read: str) -> None:
    named = {"U1": ("Sam", "sam.field"), "U2": ("dana", None)}
    assert rules.readable(written, rules.mention(named)) == read


def test_mentioned_people_are_found() -> None:
    assert rules.mentions("<@U2> <@U1|sam> <@U2> <#C1> @U3 <@lower>") == ["U1", "U2"]


@pytest.mark.parametrize(
    ("text", "line", "title", "rest"),
    [
        ("  Fix login  ", "Fix login", None, None),
        ("Fix login\nIt fails\nsince noon", "Fix login", None, "It fails\nsince noon"),
        ("Fix login\n\n", "Fix login", None, None),
        ("x" * 500, "x" * 500, None, None),
        ("x" * 501, "x" * 501, "x" * 499 + "…", "x" * 501),
        (
            "y" * 400 + " " + "x" * 200,
            "y" * 400 + " " + "x" * 200,
            "y" * 400 + "…",
            "y" * 400 + " " + "x" * 200,
        ),
        ("", "", None, None),
    ],
)
def test_what_does_not_fit_into_a_title_is_kept(
    text: str, line: str, title: str | None, rest: str | None
) -> None:
    assert rules.split_title(text) == (line, title, rest)


@pytest.mark.parametrize(
    ("domain", "channel", "ts", "thread", "link"),
    [
        ("acme", "C1", "1700000000.000100", "", "https://acme.slack.com/archives/C1/p1700000000000100"),
        (
            "acme",
            "C1",
            "1700000000.000100",
            "1600000000.000100",
            "https://acme.slack.com/archives/C1/p1700000000000100?thread_ts=1600000000.000100&cid=C1",
        ),
        ("evil.test/", "C1", "1700000000.000100", "", None),
        ("acme", "../x", "1700000000.000100", "", None),
        ("acme", "C1", "now", "", None),
        ("", "C1", "1700000000.000100", "", None),
    ],
)  # fmt: skip
def test_a_message_is_linked_and_nothing_else_is(
    domain: str, channel: str, ts: str, thread: str, link: str | None
) -> None:
    assert rules.permalink(domain, channel, ts, thread) == link


@pytest.mark.parametrize(
    ("url", "api", "good"),
    [
        ("https://hooks.slack.com/commands/1/2/3", "https://slack.com/api/", True),
        ("http://hooks.slack.com/commands/1/2/3", "https://slack.com/api/", False),
        ("http://127.0.0.1:9/x", "http://127.0.0.1:9/api/", True),
        ("http://127.0.0.1:9/x", "http://slack.com/api/", False),
        ("file:///etc/passwd", "http://127.0.0.1:9/api/", False),
        ("https://", "https://slack.com/api/", False),
        ("https://hooks.slack-gov.com/commands/1", "https://slack-gov.com/api/", True),
        ("https://hooks.slack.com:8443/commands/1", "https://slack.com/api/", False),
        ("https://evilslack.com/commands/1", "https://slack.com/api/", False),
        ("https://169.254.169.254/latest", "https://slack.com/api/", False),
        ("https://slack.com.evil.test/", "https://slack.com/api/", False),
        ("https://a.test/" + "x" * 2048, "https://slack.com/api/", False),
        ("https://[", "https://slack.com/api/", False),
        ("https://slack.com@evil.test/", "https://slack.com/api/", False),
        ("", "https://slack.com/api/", False),
    ],
)
def test_only_a_proper_response_url_is_used(url: str, api: str, good: bool) -> None:
    assert rules.safe_response_url(url, api) == (url if good else None)


INSTALL_START = InstallStart(OrgId(UUID(int=1)), UserId(UUID(int=2)), UUID(int=3), NOW)


def test_a_state_says_who_began_for_ten_minutes() -> None:
    state = rules.make_state("s", INSTALL_START)
    assert rules.read_state("s", state, NOW + timedelta(minutes=10)) == INSTALL_START
    with pytest.raises(rules.BadState, match="expired"):
        rules.read_state("s", state, NOW + timedelta(minutes=10, seconds=1))
    with pytest.raises(rules.BadState, match="invalid"):
        rules.read_state("another secret", state, NOW)


@given(st.text(), st.integers(0, 100), st.characters())
def test_a_forged_state_is_refused(text: str, at: int, other: str) -> None:
    state = rules.make_state("s", INSTALL_START)
    at %= len(state) - 1  # the last character has bits that say nothing
    forged = state[:at] + other + state[at + 1 :]
    for wrong in (text, forged):
        if wrong != state:
            with pytest.raises(rules.BadState, match="invalid"):
                rules.read_state("s", wrong, NOW)
