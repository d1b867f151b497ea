"""Letters to one person with one link, for jobs to send."""

from uuid import UUID

import msgspec
import structlog

from rytask.platform.jobs import Tools, TryAgain
from rytask.platform.mail import Delayed, Undeliverable
from rytask.platform.telemetry import Shown

log = structlog.get_logger("mail")


class LinkMail(msgspec.Struct, frozen=True, kw_only=True):
    """Sent twice with the same id, it is recognised as the same mail."""

    id: UUID
    to: str
    subject: str
    text: str
    link: str


async def send_link_mail(tools: Tools, letter: LinkMail) -> None:
    """Send a letter. Raises TryAgain when the mail server cannot take it now.

    Without a mail server it is only logged, with the link where the settings allow that.
    """
    if tools.mailer is None:
        shown = {"link": Shown(letter.link)} if tools.settings.log_mail_links else {}
        log.warning("mail.not_configured", to=letter.to, subject=letter.subject, **shown)
        return
    text = f"{letter.text}\n\n{letter.link}\n"
    try:
        await tools.mailer.send(letter.to, letter.subject, text, id=str(letter.id))
    except Delayed as delayed:
        raise TryAgain(str(delayed)) from delayed
    except Undeliverable as reason:
        log.error("mail.undeliverable", to=letter.to, subject=letter.subject, reason=str(reason))
