"""What of the picture somebody wants to see, and what a key changes about that."""

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from pgdoctor.render.live.session_rows import Order, SessionRow
from pgdoctor.render.wait_trees import Name

Signal = Literal["cancel", "terminate"]


class ViewQuestion(msgspec.Struct, frozen=True):
    """Whether a session is to be signalled, with what that would free and cost; asked before anything is done."""

    signal: Signal
    pid: int
    #: In lines: what it would free, what is lost.
    said: tuple[str, ...]
    #: What exactly is agreed to: the decision's id.
    decision: str | None = None


class View(msgspec.Struct, frozen=True):
    """What is shown, and how."""

    order: Order = "tree"
    #: The session that is chosen; None: none yet.
    chosen: Name = None
    page: Literal["list", "one", "help"] = "list"
    #: Lines that the page of one session, or the help, is scrolled down.
    scrolled: int = 0
    is_frozen: bool = False
    #: What waits for a yes or a no.
    question: ViewQuestion | None = None
    #: What has to be read in full, until the next key.
    notice: tuple[str, ...] = ()
    #: What is being done, or has just been said, until the next key.
    message: str = ""


class Pressed(msgspec.Struct, frozen=True):
    """The view after a key, and what else is to be done."""

    view: View
    #: cancel, terminate: look into whether the chosen session may be; yes: do what was asked about.
    wish: Literal["", "quit", "cancel", "terminate", "yes"] = ""


_ORDERS: dict[str, Order] = {"t": "tree", "w": "wait", "b": "blocked", "a": "age", "l": "class"}
_STEPS = {"up": -1, "p": -1, "down": 1, "n": 1}
_FAR = {"pageup": -1, "pagedown": 1}
_WISHES: dict[str, Signal] = {"c": "cancel", "k": "terminate"}


def press_key(view: View, key: str, rows: Sequence[SessionRow], page_lines: int) -> Pressed:
    """What a key does. Keys are characters, or up, down, pageup, pagedown, home, end, enter, escape."""
    if view.question is not None:
        answered = replace(view, question=None, message="" if key in ("y", "Y") else "no action")
        return Pressed(view if key in ("y", "Y") else answered, "yes" if key in ("y", "Y") else "")
    if view.notice:
        return Pressed(replace(view, notice=()))
    view = replace(view, message="")
    if key in ("q", "Q") and view.page == "list":
        return Pressed(view, "quit")
    if key in _WISHES:
        return _wished(view, _WISHES[key], rows)
    if key == " ":
        return Pressed(replace(view, is_frozen=not view.is_frozen))
    if key in ("?", "h"):
        return Pressed(replace(view, page="list" if view.page == "help" else "help", scrolled=0))
    if view.page != "list":
        return Pressed(_scrolled(view, key, page_lines))
    if key in _ORDERS:
        return Pressed(replace(view, order=_ORDERS[key]))
    if key == "j":
        return Pressed(replace(view, message="the arrows, or n and p, choose a session; k terminates it"))
    if key == "enter" and rows:
        chosen = view.chosen if view.chosen is not None else _keys(rows)[0]
        return Pressed(replace(view, page="one", scrolled=0, chosen=chosen))
    return Pressed(_moved(view, key, rows, page_lines))


def keep_view(view: View, rows: Sequence[SessionRow]) -> View:
    """The view of a new picture. A chosen session that is gone is chosen no more, nor is another in its place."""
    if view.page == "list" and view.chosen is not None and view.chosen not in _keys(rows):
        return replace(view, chosen=None)
    return view


def _wished(view: View, signal: Signal, rows: Sequence[SessionRow]) -> Pressed:
    row = next((row for row in rows if row.key == view.chosen and row.key is not None), None)
    if row is None:
        return Pressed(replace(view, message=f"choose a session to {signal} first"))
    if row.pid is None:
        return Pressed(replace(view, message="a prepared transaction has no session to signal"))
    return Pressed(view, signal)


def _scrolled(view: View, key: str, page_lines: int) -> View:
    if key in ("escape", "enter", "q", "Q", "left"):
        return replace(view, page="list", scrolled=0)
    by = _STEPS.get(key, 0) or _FAR.get(key, 0) * page_lines
    to = 0 if key == "home" else view.scrolled + by
    return replace(view, scrolled=max(to, 0))


def _moved(view: View, key: str, rows: Sequence[SessionRow], page_lines: int) -> View:
    keys = _keys(rows)
    if not keys:
        return view
    by = _STEPS.get(key, 0) or _FAR.get(key, 0) * page_lines
    place = keys.index(view.chosen) if view.chosen in keys else None
    if key == "home":
        place = 0
    elif key == "end":
        place = len(keys) - 1
    elif by:
        place = min(max(place + by, 0), len(keys) - 1) if place is not None else 0
    return view if place is None else replace(view, chosen=keys[place])


def _keys(rows: Sequence[SessionRow]) -> list[Name]:
    return [row.key for row in rows if row.key is not None]
