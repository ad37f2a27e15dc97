"""Sends one message by Apprise. Its own log is not shown: it may quote an address, which holds secrets."""

import logging
import os
import re
import ssl

import msgspec
from apprise import Apprise as Library
from apprise import AppriseAsset, NotifyFormat, OverflowMode, PersistentStoreMode

from pgdoctor.notify.children.messages import AppriseMessage, AppriseResult, AppriseTask, serve_one

#: How Apprise's log says which status a service answered.
_STATUS = re.compile(r"error=(\d{3})\b")


class _StatusHandler(logging.Handler):
    """Keeps the latest status in the log, and nothing else."""

    status: int | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if found := _STATUS.search(record.getMessage()):
            self.status = int(found[1])


def send_message(task: AppriseTask) -> AppriseResult:
    """Send it once, as plain text that is not read for anything; no redirect is followed."""
    asset = AppriseAsset(
        app_id="pgdoctor",
        app_desc="pgdoctor",
        allow_templates=False,
        async_mode=False,
        http_redirects=False,
        interpret_escapes=False,
        interpret_emojis=False,
        pgp_autogen=False,
        pem_autogen=False,
        secure_logging=True,
        storage_mode=PersistentStoreMode.MEMORY,
    )
    log, seen = logging.getLogger("apprise"), _StatusHandler()
    log.addHandler(seen)
    service = Library.instantiate(task.url, asset=asset)
    if service is None:
        return AppriseResult(False, is_usable=False)
    if "overflow=" not in task.url.lower():
        service.overflow_mode = OverflowMode.TRUNCATE
    message = msgspec.json.decode(task.message, type=AppriseMessage)
    is_delivered = service.notify(
        title=message.title, body=message.body, notify_type=message.type, body_format=NotifyFormat.TEXT
    )
    return AppriseResult(bool(is_delivered), status=seen.status)


def _trust_system() -> None:
    """Let `requests` trust what the rest of pgdoctor does, and not a list of its own."""
    paths = ssl.get_default_verify_paths()
    if found := paths.cafile or paths.capath:
        os.environ["REQUESTS_CA_BUNDLE"] = found


if __name__ == "__main__":
    _trust_system()
    serve_one(AppriseTask, send_message)
