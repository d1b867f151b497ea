"""Settings: environment variables, read once, refused with one clear sentence each.

A field is a variable: `database_url` is DATABASE_URL. A secret may come as a file instead, named
by the variable with `_FILE` at its end. An empty variable counts as not set.
"""

import difflib
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from rytask.platform import environment
from rytask.platform.connections import ASYNC_COMMIT_POOL_SIZE, POOL_SIZE
from rytask.platform.crypto import BadKey, Sealer, guessable, is_rsa_pair
from rytask.platform.environment import Address, Network, Secret
from rytask.platform.errors import CannotRun
from rytask.platform.mail import BadAddress, Mailer

_WEB = r"^https?://[^\s/?#]+"


class BadSetting(CannotRun):
    """Everything that is wrong with the settings, one sentence a line."""


def _seconds(description: str, most: int) -> Meta:
    return Meta(ge=1, le=most, description=description)


def _days(description: str, least: int) -> Meta:
    return Meta(ge=least, le=36_500, description=f"Days until {description}")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings, with what each of them means."""

    database_url: Annotated[
        Secret,
        Meta(
            pattern=r"^postgres(ql)?://",
            examples=["postgresql://rytask:secret@localhost:5432/rytask"],
            description="The address of PostgreSQL 15 or newer. Required.",
        ),
    ]
    redis_url: Annotated[
        Secret,
        Meta(
            pattern=r"^(rediss?|unix)://",
            examples=["redis://localhost:6379/0"],
            description="The address of Redis 7 or Valkey 8, or newer: `redis://`, `rediss://`"
            " (TLS) or `unix://`. Required to serve.",
        ),
    ] = Secret("")
    database_pool_size: Annotated[
        int,
        Meta(
            ge=1,
            le=500,
            description=f"Beside {ASYNC_COMMIT_POOL_SIZE} others, each process opens at most so"
            " many connections to read, and as many to write",
        ),
    ] = POOL_SIZE

    host: Annotated[
        Address,
        Meta(
            examples=["127.0.0.1"],
            description="The address on which the HTTP server listens; `0.0.0.0` is every one of"
            " this machine",
        ),
    ] = Address("0.0.0.0")  # noqa: S104 - a server is there to be reached
    port: Annotated[int, Meta(ge=1, le=65535, description="The port of the HTTP server")] = 3001
    worker: Annotated[
        bool, Meta(description="`1` runs the jobs and the scheduler instead of the HTTP server")
    ] = False
    app_base_url: Annotated[
        str,
        Meta(
            pattern=_WEB,
            examples=["https://tasks.example.com"],
            description="Where people reach RyTask: the start of every link that it sends",
        ),
    ] = "http://localhost:3001"
    cors_origin: Annotated[
        tuple[str, ...],
        Meta(
            pattern=_WEB + "$",
            examples=["https://tasks.example.com"],
            description="Other origins whose pages may call the API, separated by commas",
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[Network, ...],
        Meta(
            examples=["10.0.0.0/8,127.0.0.1"],
            description="Networks whose `X-Forwarded-For` is believed, separated by commas",
        ),
    ] = ()

    jwt_secret: Annotated[
        Secret,
        Meta(
            description="Signs access tokens (HS256): at least 32 random characters, the same in"
            " every process. Required to serve, unless the two RS256 keys are given."
        ),
    ] = Secret("")
    jwt_private_key: Annotated[
        Secret, Meta(description="Signs access tokens with RS256 instead: an RSA key in PEM")
    ] = Secret("")
    jwt_public_key: Annotated[
        Secret, Meta(description="The public half of `JWT_PRIVATE_KEY`, in PEM")
    ] = Secret("")
    jwt_issuer: Annotated[str, Meta(description="The `iss` of access tokens")] = "rytask"
    access_token_ttl_seconds: Annotated[int, _seconds("How long an access token is good", 900)] = (
        900
    )
    refresh_token_ttl_seconds: Annotated[
        int, _seconds("How long a session lives without being used", 31_536_000)
    ] = 2_592_000
    argon2_memory_cost: Annotated[
        int, Meta(ge=19_456, le=4_194_304, description="Memory of one password hash, in KiB")
    ] = 19_456
    argon2_time_cost: Annotated[int, Meta(ge=2, le=100, description="Passes over that memory")] = 2
    argon2_parallelism: Annotated[int, Meta(ge=1, le=64, description="Lanes of one hash")] = 1

    throttle_window_seconds: Annotated[
        int, _seconds("The window of the rate limit, in seconds", 86_400)
    ] = 60
    throttle_max_requests: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Requests per caller in that window")
    ] = 300
    auth_throttle_window_seconds: Annotated[int, _seconds("The same for `/auth/*`", 86_400)] = 60
    auth_throttle_max_requests: Annotated[
        int, Meta(ge=1, le=1_000_000, description="The same for `/auth/*`")
    ] = 20
    login_max_failures: Annotated[
        int, Meta(ge=1, le=1000, description="Wrong passwords per e-mail and address until locked")
    ] = 5
    login_lockout_seconds: Annotated[
        int, _seconds("How long such a login stays locked", 86_400)
    ] = 900

    slack_client_id: Annotated[
        str,
        Meta(description="The Slack app. These three and `SLACK_TOKEN_ENC_KEY` go together."),
    ] = ""
    slack_client_secret: Annotated[Secret, Meta(description="From the app's page")] = Secret("")
    slack_signing_secret: Annotated[
        tuple[Secret, ...],
        Meta(description="From the app's page; the new and the old, by comma, while rotating"),
    ] = ()
    slack_token_enc_key: Annotated[
        Secret,
        Meta(
            description="Encrypts Slack's tokens at rest: base64 of 32 random bytes, as `key` or"
            " `id:key`; several by comma while rotating, the new one first"
        ),
    ] = Secret("")
    slack_oauth_callback_url: Annotated[
        str,
        Meta(
            pattern=_WEB,
            examples=["https://tasks.example.com/integrations/slack/oauth/callback"],
            description="Where Slack sends people back; by default"
            " `APP_BASE_URL/integrations/slack/oauth/callback`",
        ),
    ] = ""
    slack_api_base_url: Annotated[
        str,
        Meta(pattern=_WEB, examples=["https://slack.com/api/"], description="Slack's Web API"),
    ] = "https://slack.com/api/"

    smtp_url: Annotated[
        Secret,
        Meta(
            description="The mail server: `smtp://user:password@host:587` (STARTTLS when offered;"
            " `?starttls=require` or `never`) or `smtps://…`. Without it no mail is sent."
        ),
    ] = Secret("")
    mail_from: Annotated[
        str, Meta(description="The sender of mails, such as `RyTask <rytask@example.com>`")
    ] = ""

    log_mail_links: Annotated[
        bool,
        Meta(
            description="`1` writes the links of mails to the log while there is no `SMTP_URL`."
            " Whoever reads the log can use them: for a machine of your own only."
        ),
    ] = False

    retention_trash_days: Annotated[
        int, _days("an item in the trash is erased, with what hangs on it", 1)
    ] = 30
    retention_read_notification_days: Annotated[
        int, _days("a notification that was read or archived is deleted", 30)
    ] = 90
    retention_unread_notification_days: Annotated[
        int, _days("a notification that nobody has read is deleted", 30)
    ] = 365
    retention_dead_job_days: Annotated[int, _days("a job that failed for good is deleted", 1)] = 30

    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Meta(description="What is logged")
    ] = "INFO"
    log_format: Annotated[
        Literal["AUTO", "JSON", "TEXT"],
        Meta(description="How it is written; `AUTO` is text on a terminal and JSON elsewhere"),
    ] = "AUTO"
    metrics_port: Annotated[
        int,
        Meta(ge=0, le=65535, description="Serve `/metrics` on a port of its own, without a token"),
    ] = 0
    metrics_token: Annotated[
        Secret, Meta(description="Serve `/metrics` on `PORT`, to those who bear this token")
    ] = Secret("")
    app_version: Annotated[
        str, Meta(description="What RyTask calls its version; by default that of the package")
    ] = ""

    @property
    def signing_secret(self) -> str:
        """The secret that others are derived from, the same in every process."""
        return self.jwt_secret or self.jwt_private_key

    @property
    def slack(self) -> bool:
        """Whether Slack is configured."""
        return bool(self.slack_client_id)

    @classmethod
    def read(cls, environ: Mapping[str, str], *, serving: bool = True) -> Self:
        """Read the environment. Raises BadSetting, which lists everything that is wrong.

        Without `serving` only the database is required: enough to migrate.
        """
        problems: list[str] = []
        values: dict[str, Any] = {}
        for field in msgspec.structs.fields(cls):
            name = field.name.upper()
            try:
                text = environment.read(environ, name, secret=_is_secret(field.name))
                if text:
                    values[field.name] = environment.parse(text, _HINTS[field.name])
                elif field.required:
                    raise ValueError(f"is missing: set it to {_example(field.name)}")
            except ValueError as wrong:
                problems.append(f"{name} {wrong}.")
        settings = cls(**{"database_url": Secret(""), **values})
        problems += _contradictions(settings, problems, serving)
        if problems:
            raise BadSetting("\n".join(problems))
        base = settings.app_base_url.rstrip("/")
        return msgspec.structs.replace(
            settings,
            app_base_url=base,
            slack_oauth_callback_url=settings.slack_oauth_callback_url
            or f"{base}/integrations/slack/oauth/callback",
            app_version=settings.app_version or version("rytask"),
        )


_HINTS: dict[str, Any] = get_type_hints(Settings, include_extras=True)
_FAMILIES = (
    "SLACK_",
    "THROTTLE_",
    "AUTH_THROTTLE_",
    "LOGIN_",
    "JWT_",
    "ARGON2_",
    "SMTP_",
    "MAIL_",
    "RETENTION_",
)
_SECTIONS = {
    "database_url": "Engines",
    "host": "Web",
    "jwt_secret": "Signing in",
    "throttle_window_seconds": "Limits",
    "slack_client_id": "Slack",
    "smtp_url": "Mail",
    "retention_trash_days": "Retention",
    "log_level": "Operation",
}


def likely_typos(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like one of ours and is none."""
    known = {name.upper() for name in _HINTS}
    known |= {f"{name.upper()}_FILE" for name in _HINTS if _is_secret(name)}
    sentences = []
    for name in sorted(environ):
        if name.startswith(_FAMILIES) and name not in known:
            close = difflib.get_close_matches(name, sorted(known), 1, 0.8)
            hint = f" Is {close[0]} meant?" if close else ""
            sentences.append(f"{name} is not a setting of RyTask and has no effect.{hint}")
    return sentences


def configuration_markdown() -> str:
    """The reference of all settings: docs/reference/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "RyTask is configured by environment variables. *file*: the value may also come from a"
        " file, named by the variable with `_FILE` at its end. What is wrong is refused at the"
        " start, in one sentence each. This page is made from the program.",
    ]
    for field in msgspec.structs.fields(Settings):
        if title := _SECTIONS.get(field.name):
            lines += ["", f"## {title}", "", "| variable | default | meaning |", "|---|---|---|"]
        name = f"`{field.name.upper()}`" + (" *file*" if _is_secret(field.name) else "")
        default = "" if field.required or field.default in ("", (), 0, False) else field.default
        shown = f"`{default}`" if default else ""
        lines.append(f"| {name} | {shown} | {_meaning(_HINTS[field.name])} |")
    return "\n".join(lines) + "\n"


def _contradictions(settings: Settings, before: list[str], serving: bool) -> Iterator[str]:
    """List contradictions between settings."""
    named = {problem.split()[0] for problem in before}
    if serving and not settings.redis_url and "REDIS_URL" not in named:
        yield f"REDIS_URL is missing: set it to {_example('redis_url')}."
    if serving or settings.jwt_secret or settings.jwt_private_key or settings.jwt_public_key:
        yield from _signing(settings, named)
    yield from _slack(settings)
    if settings.smtp_url or settings.mail_from:
        yield from _mail(settings)


def _signing(settings: Settings, named: set[str]) -> Iterator[str]:
    private, public = settings.jwt_private_key, settings.jwt_public_key
    if private or public:
        if not (private and public):
            yield "JWT_PRIVATE_KEY and JWT_PUBLIC_KEY go together: set both, or none."
        elif not is_rsa_pair(private, public):
            yield (
                "JWT_PRIVATE_KEY and JWT_PUBLIC_KEY must be the two halves of one RSA key of at"
                " least 2048 bits, in PEM."
            )
    elif not settings.jwt_secret:
        if "JWT_SECRET" not in named:
            yield f"JWT_SECRET is missing: {_MAKE_ONE}."
    elif len(settings.jwt_secret) < 32:
        yield f"JWT_SECRET has only {len(settings.jwt_secret)} characters: {_MAKE_ONE}."
    elif guessable(settings.jwt_secret):
        yield f"JWT_SECRET looks like an example that anybody could guess: {_MAKE_ONE}."


_MAKE_ONE = "set it to at least 32 random characters, such as those of `openssl rand -base64 48`"


def _slack(settings: Settings) -> Iterator[str]:
    app = {
        "SLACK_CLIENT_ID": settings.slack_client_id,
        "SLACK_CLIENT_SECRET": settings.slack_client_secret,
        "SLACK_SIGNING_SECRET": settings.slack_signing_secret,
    }
    given = [name for name, value in app.items() if value]
    missing = [name for name, value in app.items() if not value]
    if not settings.slack_token_enc_key:
        missing.append("SLACK_TOKEN_ENC_KEY")
    if given and missing:
        yield (
            f"Slack is half configured: set {' and '.join(missing)} as well, or remove"
            f" {' and '.join(given)}."
        )
    if settings.slack_token_enc_key:
        try:
            Sealer.read(settings.slack_token_enc_key)
        except BadKey as wrong:
            yield (
                f"SLACK_TOKEN_ENC_KEY cannot be used, {wrong}: make one with"
                " `openssl rand -base64 32`."
            )


def _mail(settings: Settings) -> Iterator[str]:
    if not settings.smtp_url:
        yield "MAIL_FROM is set without SMTP_URL: set both, or none."
    elif not settings.mail_from:
        yield "SMTP_URL is set without MAIL_FROM: name the sender of mails."
    else:
        try:
            Mailer.read(settings.smtp_url, settings.mail_from)
        except BadAddress as wrong:
            yield f"SMTP_URL or MAIL_FROM cannot be used: {wrong}."


def _is_secret(field: str) -> bool:
    kind = get_args(_HINTS[field])[0]
    return kind is Secret or Secret in get_args(kind)


def _example(field: str) -> str:
    return get_args(_HINTS[field])[1].examples[0]


def _meaning(hint: Any) -> str:
    kind, meta = get_args(hint)
    if kind is int:
        return f"{meta.description} ({meta.ge} to {meta.le})"
    if get_origin(kind) is Literal:
        return f"{meta.description}: {', '.join(f'`{one}`' for one in get_args(kind))}"
    return meta.description
