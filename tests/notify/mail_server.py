"""A real SMTP server on loopback, which keeps the mails that it gets."""

import email.policy
import socket
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


class MailServer:
    """Runs inside of `with`; `refusal` is what it answers instead of taking a mail."""

    def __init__(self) -> None:
        self.refusal: str | None = None
        self.mails: list[EmailMessage] = []
        self.envelopes: list[Envelope] = []
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        self._controller = Controller(self, hostname="127.0.0.1", port=port, ready_timeout=60)
        #: For Apprise.
        self.url = f"mailto://127.0.0.1:{port}?from=pgdoctor@db.example&to=dba@shop.example&mode=insecure"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.refusal is not None:
            return self.refusal
        assert isinstance(envelope.content, bytes)
        self.mails.append(BytesParser(EmailMessage, policy=email.policy.default).parsebytes(envelope.content))
        self.envelopes.append(envelope)
        return "250 OK"
