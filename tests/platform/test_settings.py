import base64
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from rytask.platform.settings import (
    BadSetting,
    Settings,
    configuration_markdown,
    likely_typos,
)

STRONG = "kF3v9QmZ1xT7bW5nR2cY8dL0sH4jP6gA"
ENOUGH = {
    "DATABASE_URL": "postgresql://rytask:pg-hush@db/rytask",
    "REDIS_URL": "redis://:redis-hush@cache",
    "JWT_SECRET": STRONG,
}
KEY = base64.b64encode(bytes(range(32))).decode()
SLACK = {
    "SLACK_CLIENT_ID": "1.2",
    "SLACK_CLIENT_SECRET": "client-hush",
    "SLACK_SIGNING_SECRET": "new-hush, old-hush",
    "SLACK_TOKEN_ENC_KEY": KEY,
}


def refusal(**environ: str) -> str:
    with pytest.raises(BadSetting) as refused:
        Settings.read({**ENOUGH, **environ})
    return str(refused.value)


def test_three_variables_are_enough_to_serve() -> None:
    settings = Settings.read(ENOUGH)
    assert settings.port == 3001
    assert settings.throttle_max_requests == 300
    assert settings.app_version
    assert not settings.slack
    assert settings.slack_oauth_callback_url == (
        "http://localhost:3001/integrations/slack/oauth/callback"
    )


def test_only_the_database_is_needed_to_migrate() -> None:
    environ = {"DATABASE_URL": ENOUGH["DATABASE_URL"]}
    assert Settings.read(environ, serving=False).database_url == ENOUGH["DATABASE_URL"]


def test_every_problem_is_told_at_once_each_in_one_line() -> None:
    with pytest.raises(BadSetting) as refused:
        Settings.read({"PORT": "eighty", "JWT_SECRET": "short"})
    lines = str(refused.value).splitlines()
    assert [line.split()[0] for line in lines] == [
        "DATABASE_URL",
        "PORT",
        "REDIS_URL",
        "JWT_SECRET",
    ]


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL must look like postgresql://"),
        ({"REDIS_URL": "cache:6379"}, "REDIS_URL must look like redis://"),
        ({"REDIS_URL": ""}, "REDIS_URL is missing: set it to redis://"),
        ({"HOST": "box"}, "HOST is 'box', but it must be an address such as 127.0.0.1."),
        ({"PORT": "0"}, "PORT is '0', but it must be a whole number from 1 to 65535."),
        ({"PORT": "3001.5"}, "PORT is '3001.5', but it must be a whole number"),
        ({"WORKER": "maybe"}, "WORKER is 'maybe', but it must be 1 or 0."),
        ({"ACCESS_TOKEN_TTL_SECONDS": "901"}, "from 1 to 900."),
        ({"ARGON2_MEMORY_COST": "1024"}, "ARGON2_MEMORY_COST is '1024', but"),
        ({"APP_BASE_URL": "tasks.example.com"}, "APP_BASE_URL is 'tasks.example.com', but"),
        ({"CORS_ORIGIN": "https://a.example,*"}, "CORS_ORIGIN is '*', but it must look like"),
        ({"CORS_ORIGIN": "https://a.example/"}, "CORS_ORIGIN is 'https://a.example/', but"),
        ({"TRUSTED_PROXIES": "10.0.0.1/8"}, "TRUSTED_PROXIES is '10.0.0.1/8', but"),
        ({"LOG_LEVEL": "loud"}, "must be one of DEBUG, INFO, WARNING, ERROR."),
        ({"JWT_SECRET": ""}, "JWT_SECRET is missing: set it to at least 32 random characters"),
        ({"JWT_SECRET": "x" * 31}, "JWT_SECRET has only 31 characters"),
        ({"JWT_SECRET": "x" * 40}, "looks like an example that anybody could guess"),
        (
            {"JWT_SECRET": "dev_secret_change_me_please_0123456789"},
            "looks like an example that anybody could guess",
        ),
        ({"JWT_PRIVATE_KEY": "x"}, "JWT_PRIVATE_KEY and JWT_PUBLIC_KEY go together"),
        (
            {"JWT_PRIVATE_KEY": "x", "JWT_PUBLIC_KEY": "y"},
            "must be the two halves of one RSA key",
        ),
        ({"SLACK_CLIENT_ID": "1.2"}, "Slack is half configured: set SLACK_CLIENT_SECRET and"),
        ({**SLACK, "SLACK_TOKEN_ENC_KEY": ""}, "set SLACK_TOKEN_ENC_KEY as well, or remove"),
        ({**SLACK, "SLACK_TOKEN_ENC_KEY": "nonsense"}, "SLACK_TOKEN_ENC_KEY cannot be used"),
        ({"SLACK_TOKEN_ENC_KEY": KEY[:20]}, "SLACK_TOKEN_ENC_KEY cannot be used"),
        ({"SMTP_URL": "smtp://mail"}, "SMTP_URL is set without MAIL_FROM"),
        ({"MAIL_FROM": "a@example.com"}, "MAIL_FROM is set without SMTP_URL"),
        ({"SMTP_URL": "http://mail", "MAIL_FROM": "a@b"}, "cannot be used: it must look like"),
        ({"SMTP_URL": "smtp://mail", "MAIL_FROM": "nobody"}, "is not a mail address"),
        ({"JWT_SECRET_FILE": "x"}, "JWT_SECRET and JWT_SECRET_FILE are both set"),
        ({"JWT_SECRET": "", "JWT_SECRET_FILE": "/no/such"}, "cannot be read from the file"),
    ],
)
def test_a_bad_value_is_refused_in_one_clear_sentence(
    environ: Mapping[str, str], sentence: str
) -> None:
    message = refusal(**environ)
    assert sentence in message
    assert len(message.splitlines()) == 1
    assert message.endswith(".")


def test_slack_may_have_two_signing_secrets_while_they_are_rotated() -> None:
    settings = Settings.read({**ENOUGH, **SLACK})
    assert settings.slack
    assert settings.slack_signing_secret == ("new-hush", "old-hush")


def test_a_key_for_slacks_tokens_alone_is_not_half_a_slack() -> None:
    assert not Settings.read({**ENOUGH, "SLACK_TOKEN_ENC_KEY": KEY}).slack


def test_lists_networks_and_addresses_are_read() -> None:
    settings = Settings.read(
        {
            **ENOUGH,
            "TRUSTED_PROXIES": "10.0.0.0/8, ::1",
            "CORS_ORIGIN": "https://a.example, http://localhost:5173",
            "APP_BASE_URL": "https://tasks.example.com/",
            "WORKER": "1",
        }
    )
    assert settings.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    assert settings.cors_origin == ("https://a.example", "http://localhost:5173")
    assert settings.app_base_url == "https://tasks.example.com"
    assert settings.worker


def test_a_secret_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "jwt"
    path.write_text(STRONG + "\n")
    environ = {**ENOUGH, "JWT_SECRET": "", "JWT_SECRET_FILE": str(path)}
    assert Settings.read(environ).jwt_secret == STRONG


@pytest.mark.parametrize("newline", ["\n", "\\n"])
def test_two_keys_of_one_pair_do_instead_of_a_secret(newline: str) -> None:
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    environ = {
        **ENOUGH,
        "JWT_SECRET": "",
        "JWT_PRIVATE_KEY": private.replace("\n", newline),
        "JWT_PUBLIC_KEY": public.decode().replace("\n", newline),
    }
    assert Settings.read(environ).jwt_private_key == private.strip()


def test_settings_never_show_a_secret() -> None:
    settings = Settings.read(
        {**ENOUGH, **SLACK, "SMTP_URL": "smtp://me:mail-hush@mail", "MAIL_FROM": "a@b.example"}
    )
    assert "hush" not in f"{settings!r} {settings}"
    assert STRONG not in repr(settings)
    assert KEY not in repr(settings)


def test_a_bad_secret_is_not_told_either() -> None:
    assert "hush" not in refusal(DATABASE_URL="mysql://me:hush@db", REDIS_URL="http://:hush@x")


def test_a_likely_typo_is_pointed_out() -> None:
    assert likely_typos({"SLACK_CLIENTID": "1", "JWT_SECRET_FILE": "x", "HOME": "/"}) == [
        "SLACK_CLIENTID is not a setting of RyTask and has no effect. Is SLACK_CLIENT_ID meant?"
    ]


def test_the_configuration_page_says_what_the_program_does() -> None:
    page = Path(__file__).parents[2] / "docs/reference/configuration.md"
    assert page.read_text() == configuration_markdown()
