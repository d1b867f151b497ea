"""Problem details: the answer, the same for all, where a route cannot give its own."""

from collections.abc import Mapping

import msgspec

from rytask.platform.errors import Malformed, MethodNotAllowed, Refused, Unauthenticated
from rytask.platform.http import Answer, Request

_PROBLEM = b"application/problem+json"


class Problem(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """RFC 9457, with the members that older clients read. `code` is stable."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    status_code: int
    error: str
    message: str | list[str]


def refusal(refused: Refused, request: Request) -> Answer:
    """The answer to a request that we decline."""
    answer = _problem(
        refused.status,
        refused.title,
        refused.message,
        refused.code,
        request,
        refused.problems if isinstance(refused, Malformed) else None,
        refused.extra,
    )
    retry_after = getattr(refused, "retry_after", None)
    if retry_after is not None:
        answer.headers.append((b"retry-after", str(retry_after).encode()))
    if refused.closes:
        answer.headers.append((b"connection", b"close"))
    if isinstance(refused, MethodNotAllowed):
        answer.headers.append((b"allow", ", ".join(refused.allowed).encode()))
    if isinstance(refused, Unauthenticated):
        answer.headers.append((b"www-authenticate", b'Bearer realm="rytask"'))
    return answer


def failure(request: Request) -> Answer:
    """The answer after a bug of ours: it shows nothing but the id under which it was logged."""
    return _problem(
        500,
        "Internal Server Error",
        "Something broke on our side; it was logged with this request id.",
        "internal",
        request,
    )


def _problem(
    status: int,
    title: str,
    detail: str,
    code: str,
    request: Request,
    problems: list[str] | None = None,
    extra: Mapping[str, object] | None = None,
) -> Answer:
    problem = Problem(
        type=f"/api/docs#error-{code}",
        title=title,
        status=status,
        detail=detail,
        code=code,
        request_id=request.id,
        status_code=status,
        error=title,
        message=problems or detail,
    )
    body = {**msgspec.to_builtins(problem), **(extra or {})}
    return Answer(msgspec.json.encode(body), status=status, media=_PROBLEM)
