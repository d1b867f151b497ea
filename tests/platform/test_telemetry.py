import io
import logging
from collections.abc import Iterator
from typing import Literal

import msgspec
import pytest
import structlog

from rytask.platform import telemetry


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    telemetry.configure("INFO", to=stream)
    yield stream
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(False)
    root.handlers[:], root.level = before


def lines(written: io.StringIO) -> list[dict[str, object]]:
    return [msgspec.json.decode(line) for line in written.getvalue().splitlines()]


def test_each_line_is_json_with_the_requests_id(written: io.StringIO) -> None:
    telemetry.bind(request_id="r-1")
    structlog.get_logger().info("item.created", key="RY-4")
    telemetry.unbind("request_id")
    structlog.get_logger().debug("not.seen")
    (line,) = lines(written)
    assert line.items() >= {"event": "item.created", "request_id": "r-1", "key": "RY-4"}.items()
    assert line["level"] == "info"
    assert str(line["at"]).endswith("Z")


def test_libraries_write_the_same_lines(written: io.StringIO) -> None:
    telemetry.bind(job_id="j-1")
    logging.getLogger("bullmq").warning("stalled %s", "xoxb-1-secret")
    (line,) = lines(written)
    assert line["event"] == "stalled [hidden]"
    assert (line["logger"], line["job_id"]) == ("bullmq", "j-1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("password", "hush"),
        ("ownerPassword", "hush"),
        ("refresh_token", "hush"),
        ("accessToken", "hush"),
        ("Authorization", "Bearer hush"),
        ("cookie", "hush"),
        ("client_secret", "hush"),
        ("SLACK_TOKEN_ENC_KEY", "hush"),
        ("said", "it was rytask_pat_hushhushhush"),
        ("said", "it was xoxb-123-hush"),
        ("said", "authorization: bearer hushhushhush"),
        ("url", "https://x.example/verify?a=b&token=hush&c=d"),
        ("url", "https://x.example/callback?code=hush&state=1"),
        ("url", "postgresql://rytask:hush@db/rytask"),
        ("said", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodXNoIn0.hush"),
        ("headers", {"authorization": "hush"}),
        ("headers", [["said", "rytask_mcp_hushhushhush"]]),
        ("error", ValueError("rytask_pat_hushhushhush")),
    ],
)
def test_no_secret_is_logged(written: io.StringIO, name: str, value: object) -> None:
    structlog.get_logger().info("seen", **{name: value})
    assert "hush" not in written.getvalue()
    assert "[hidden]" in written.getvalue()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("key", "RY-4"),
        ("token_id", "0193b3a0-0000-7000-8000-000000000001"),
        ("path", "/api/v1/work-items?cursor=abc"),
        ("status", 500),
        ("said", "Fix the token= thing"),
        ("url", "https://x.example:8080/a@b"),
    ],
)
def test_what_is_no_secret_stays(written: io.StringIO, name: str, value: object) -> None:
    structlog.get_logger().info("seen", **{name: value})
    assert lines(written)[0][name] == value


def test_an_exception_is_logged_without_the_secrets_in_it(written: io.StringIO) -> None:
    try:
        raise ValueError("postgresql://rytask:hush@db/rytask")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = lines(written)
    assert "ValueError" in str(line["exception"])
    assert "hush" not in written.getvalue()


def test_requests_are_counted_by_their_route() -> None:
    for _ in range(2):
        telemetry.count_answer("/api/v1/t/{id}", "GET", 200, 0.002)
    text, media = telemetry.render()
    assert media.startswith("text/plain")
    wanted = 'rytask_http_requests_total{method="GET",route="/api/v1/t/{id}",status="200"} 2.0'
    assert wanted in text.decode()
    assert b'rytask_http_request_seconds_count{method="GET",route="/api/v1/t/{id}"} 2.0' in text


def test_a_line_has_a_length(written: io.StringIO) -> None:
    structlog.get_logger().info("long", text="a" * 200_000, parts=["b" * 200_000])
    (line,) = lines(written)
    assert len(written.getvalue()) < 20_000
    assert "192000 characters left out" in str(line["text"])


@pytest.mark.parametrize("format", ["JSON", "TEXT"])
def test_a_link_that_is_to_be_read_is_shown_in_each_format(
    written: io.StringIO, format: Literal["JSON", "TEXT"]
) -> None:
    telemetry.configure("INFO", format=format, to=written)
    link = "http://localhost:3001/reset?token=abcdefgh"
    structlog.get_logger().info("mail", link=telemetry.Shown(link), other=link)
    assert written.getvalue().count("token=abcdefgh") == 1
    assert written.getvalue().count("token=[hidden]") == 1
