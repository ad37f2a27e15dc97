"""What may come in at `POST /webhook`: an alert in one of two formats, or a reason why it is none.

It is read to be sure that it is an alert, and whether it is over; nothing in it says what is to be done.
"""

import json
import math
from datetime import datetime
from typing import Any, Literal, NoReturn

import msgspec

#: The formats: with `invalid` the closed set of the metric's `kind` label.
Kind = Literal["alertmanager", "contract"]
KINDS = ("alertmanager", "contract", "invalid")

_VERSION = "4"
_RESOLVED = "resolved"
_WANTED = "Alertmanager's webhook (version, status, alerts) or the contract (alertId, status)"


class NoAlert(Exception):
    """Why a body is not an alert, in one line that names the key and quotes nothing."""


class GroupedAlert(msgspec.Struct, frozen=True):
    """One of Alertmanager's alerts, as far as it matters here."""

    status: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class InboundAlertmanager(msgspec.Struct, frozen=True):
    """Alertmanager's webhook, version 4. Other keys than these are its own business, for it adds some now and then."""

    version: str
    status: str
    alerts: list[GroupedAlert]
    receiver: str = ""


class Contract(msgspec.Struct, frozen=True, rename="camel"):
    """The auto-mitigation contract. `mitigation_action` is what the sender would like, and no authority."""

    alert_id: str
    status: str
    severity: str | None = None
    metric: str | None = None
    threshold: float | str | None = None
    actual_value: float | str | None = None
    service: str | None = None
    namespace: str | None = msgspec.field(default=None, name="k8s_namespace")
    mitigation_action: str | None = None
    timestamp: datetime | None = None


class InboundAlert(msgspec.Struct, frozen=True):
    """An alert that came in."""

    kind: Kind
    #: It says that the trouble is over.
    is_resolved: bool


def read_alert(body: bytes) -> InboundAlert:
    """The alert in a request's body. Raises NoAlert for everything else, whatever it is."""
    found = _decode_json(body)
    if not isinstance(found, dict):
        raise NoAlert(f"expected an object: {_WANTED}")
    if "alertId" in found:
        return InboundAlert("contract", _convert_alert(found, Contract).status.lower() == _RESOLVED)
    if "alerts" not in found and "version" not in found:
        raise NoAlert(f"a key is missing: {_WANTED}")
    alert = _convert_alert(found, InboundAlertmanager)
    if alert.version != _VERSION:
        raise NoAlert(f'version "{_VERSION}" of Alertmanager\'s webhook is expected - at `$.version`')
    return InboundAlert("alertmanager", alert.status.lower() == _RESOLVED)


def _convert_alert(found: dict[str, Any], wanted: type[Any]) -> Any:
    try:
        return msgspec.convert(found, wanted)
    except msgspec.ValidationError as error:
        raise NoAlert(str(error)) from None
    except UnicodeEncodeError:  # Raised for keys only.
        raise NoAlert("a key contains half of a surrogate pair") from None


def _decode_json(body: bytes) -> Any:
    try:
        return json.loads(
            body.decode(), object_pairs_hook=_refuse_repeated_keys, parse_constant=_no_number, parse_float=_parse_finite
        )
    except UnicodeDecodeError:
        raise NoAlert("the body is not UTF-8 text") from None
    except RecursionError:
        raise NoAlert("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise NoAlert(f"not JSON: {error.msg} at character {error.pos}") from None
    except ValueError:
        raise NoAlert("a number has too many digits") from None


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. Raises for a key that is there twice: it is ambiguous."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise NoAlert("an object contains a key twice")
    return found


def _no_number(word: str) -> NoReturn:
    raise NoAlert(f"{word} is not JSON")


def _parse_finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise NoAlert("a number is too big")
    return number
