"""Errors to act on: by a caller whom we refuse, or by whoever runs this machine.

Each class of refusal is one status; its code is part of the API.
"""

from typing import Any, ClassVar


class CannotRun(Exception):
    """Something whoever runs this machine can act on, said in one sentence."""


class Refused(Exception):
    """A request that we understood and decline, with one sentence that says what to do."""

    status: ClassVar[int] = 400
    title: ClassVar[str] = "Bad Request"
    code: str = "request.refused"
    closes: ClassVar[bool] = False
    """Whether the rest of the request is not awaited, and its connection closed."""

    def __init__(self, message: str, *, code: str | None = None, **extra: Any) -> None:
        super().__init__(message)
        self.message = message
        self.extra = extra
        if code is not None:
            self.code = code


class Malformed(Refused):
    """Input that does not have the promised shape. `problems` lists `path: text`."""

    code = "request.malformed"

    def __init__(
        self, message: str, *, code: str | None = None, problems: list[str] | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.problems = problems or [message]


class Unauthenticated(Refused):
    status = 401
    title = "Unauthorized"
    code = "auth.required"


class Forbidden(Refused):
    status = 403
    title = "Forbidden"
    code = "auth.forbidden"


class NotFound(Refused):
    """Not here, or not shared with the caller: the two look alike."""

    status = 404
    title = "Not Found"
    code = "not_found"


class MethodNotAllowed(Refused):
    status = 405
    title = "Method Not Allowed"
    code = "request.method_not_allowed"

    def __init__(self, allowed: list[str]) -> None:
        super().__init__(f"This path takes {', '.join(allowed)}.")
        self.allowed = allowed


class TooSlow(Refused):
    status = 408
    title = "Request Timeout"
    code = "request.too_slow"
    closes = True


class Conflict(Refused):
    status = 409
    title = "Conflict"
    code = "conflict"


class Gone(Refused):
    status = 410
    title = "Gone"
    code = "link.gone"


class TooLarge(Refused):
    status = 413
    title = "Content Too Large"
    code = "request.too_large"
    closes = True


class UnsupportedMedia(Refused):
    status = 415
    title = "Unsupported Media Type"
    code = "request.unsupported_media"


class Invalid(Refused):
    """Well-formed, but it cannot be: an unknown parent, another project's status."""

    status = 422
    title = "Unprocessable Content"
    code = "request.invalid"


class TooMany(Refused):
    """Ask again after `retry_after` whole seconds."""

    status = 429
    title = "Too Many Requests"
    code = "rate_limit.exceeded"

    def __init__(self, message: str, *, retry_after: int, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class TooManyUnfinished(TooMany):
    """One network leaves too many requests unfinished."""

    code = "request.too_many_unfinished"
    closes = True


class Busy(TooMany):
    """All callers together leave too many requests unfinished."""

    status = 503
    title = "Service Unavailable"
    code = "service.busy"
    closes = True


class Unavailable(Refused):
    """A part that we need is away for a moment; nothing was changed."""

    status = 503
    title = "Service Unavailable"
    code = "service.unavailable"

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Stopping(Unavailable):
    """A request that a stopping process could not finish in time."""

    code = "service.stopping"
    closes = True

    def __init__(self) -> None:
        super().__init__(
            "The server is stopping and broke off this request. See whether it took effect before"
            " you send it again."
        )
