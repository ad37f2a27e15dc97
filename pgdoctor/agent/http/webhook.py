"""`POST /webhook`: an alert asks for a fresh poll, and for nothing else.

What the alert says names no victim and permits nothing: the poll is judged like any other, by the same rules and
guards, and a thousand alerts cause no more than one poll an interval.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from pgdoctor.agent.http.inbound_alert import KINDS, InboundAlert, NoAlert, read_alert

log = logging.getLogger(__name__)

#: Seconds in which the sender has to have sent all of it.
_PATIENCE = 5.0


class WebhookReceiver:
    """Receives alerts. `askers` begin a poll of one server each, and say whether they did."""

    def __init__(self, askers: Callable[[], Iterable[Callable[[], bool]]]) -> None:
        self._askers = askers
        #: What came in, by kind, from the start on.
        self.received = dict.fromkeys(KINDS, 0)

    async def receive(self, request: Request) -> dict[str, object]:
        """What an alert has set off. Raises HTTPException for what is none."""
        alert = await self._read_alert(request)
        if alert.is_resolved:
            return {"evaluated": False, "reason": "the alert is resolved: no poll needed"}
        asked = [ask() for ask in self._askers()]
        if not any(asked):
            return {"evaluated": False, "reason": "the previous request was less than an interval ago"}
        log.info("alert received, polling", extra={"kind": alert.kind})
        return {"evaluated": True}

    async def _read_alert(self, request: Request) -> InboundAlert:
        try:
            async with asyncio.timeout(_PATIENCE):
                body = await request.body()
            alert = read_alert(body)
        except TimeoutError:
            self.received["invalid"] += 1
            raise HTTPException(408, f"the alert was incomplete after {_PATIENCE:g} s") from None
        except ClientDisconnect:
            self.received["invalid"] += 1
            raise HTTPException(400, "the client disconnected") from None
        except NoAlert as error:
            self.received["invalid"] += 1
            raise HTTPException(400, str(error)) from None
        self.received[alert.kind] += 1
        return alert
