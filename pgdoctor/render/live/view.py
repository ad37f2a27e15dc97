"""Which part of the screen is shown, and how keys change it."""

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from pgdoctor.render.live.filtering import ListedRow
from pgdoctor.render.live.session_rows import Order
from pgdoctor.render.wait_trees import Name

Signal = Literal["cancel", "terminate"]


#: The list of those who block or are blocked, and the list of all sessions.
Tab = Literal["blocked", "sessions"]


#: What the list of all sessions is sorted by.
SessionSort = Literal["state", "age", "transaction", "cpu", "memory", "read", "written"]


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
    sort: SessionSort = "state"
    #: The session that is chosen; None: none yet.
    chosen: Name = None
    page: Literal["list", "one", "help"] = "list"
    #: Which list: None, that of the blocked while a session is blocked, else that of all sessions.
    tab: Tab | None = None
    #: Whether a session was blocked in the picture before: when that changes, a chosen list is chosen no more.
    was_blocked: bool = False
    #: Only rows with this text are listed.
    filter: str = ""
    #: The filter is being typed.
    is_typing: bool = False
    #: Statements are wrapped and not cut.
    is_wrapped: bool = False
    #: Equal waiters of a tree are one row.
    is_grouped: bool = True
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
    #: cancel, terminate: look into whether the chosen session may be; yes: do what was asked about; slower, faster:
    #: poll less or more often.
    wish: Literal["", "quit", "cancel", "terminate", "yes", "slower", "faster"] = ""


_ORDERS: dict[str, Order] = {"t": "tree", "w": "wait", "b": "blocked", "a": "age", "l": "class"}
_SORTS: dict[str, SessionSort] = {
    "s": "state",
    "e": "age",
    "a": "transaction",
    "u": "cpu",
    "m": "memory",
    "r": "read",
    "w": "written",
}
_STEPS = {"up": -1, "p": -1, "down": 1, "n": 1}
_FAR = {"pageup": -1, "pagedown": 1}
_WISHES: dict[str, Signal] = {"c": "cancel", "k": "terminate"}
_PACES: dict[str, Literal["slower", "faster"]] = {"+": "slower", "=": "slower", "-": "faster"}
_TABS: dict[str, Tab] = {"1": "sessions", "2": "blocked"}

#: Characters of a filter.
_LONGEST_FILTER = 60


def press_key(view: View, key: str, rows: Sequence[ListedRow], page_lines: int) -> Pressed:
    """What a key does. Keys are characters, or up, down, pageup, pagedown, home, end, enter, escape, tab, backspace."""
    if view.question is not None:
        answered = replace(view, question=None, message="" if key in ("y", "Y") else "no action")
        return Pressed(view if key in ("y", "Y") else answered, "yes" if key in ("y", "Y") else "")
    if view.notice:
        return Pressed(replace(view, notice=()))
    if view.is_typing:
        return Pressed(_apply_filter_key(view, key))
    view = replace(view, message="")
    if key in ("q", "Q") and view.page == "list":
        return Pressed(view, "quit")
    if key in _WISHES:
        return _choose_signal(view, _WISHES[key], rows)
    if key in _PACES:
        return Pressed(view, _PACES[key])
    if key == " ":
        return Pressed(replace(view, is_frozen=not view.is_frozen))
    if key in ("?", "h"):
        return Pressed(replace(view, page="list" if view.page == "help" else "help", scrolled=0))
    if view.page != "list":
        return Pressed(_scroll_view(view, key, page_lines))
    if (changed := _listed_otherwise(view, key)) is not None:
        return Pressed(changed)
    if key == "j":
        return Pressed(replace(view, message="the arrows, or n and p, choose a session; k terminates it"))
    if key == "enter" and rows:
        chosen = view.chosen if view.chosen is not None else _row_keys(rows)[0]
        return Pressed(replace(view, page="one", scrolled=0, chosen=chosen))
    return Pressed(_move_cursor(view, key, rows, page_lines))


def shown_tab(view: View) -> Tab:
    """Which list the view shows."""
    return view.tab or ("blocked" if view.was_blocked else "sessions")


def follow_blocking(view: View, *, is_blocked: bool) -> View:
    """The view of a new picture in which a session is blocked, or none: when that changes, its list comes by itself."""
    return view if is_blocked == view.was_blocked else replace(view, was_blocked=is_blocked, tab=None)


def keep_view(view: View, rows: Sequence[ListedRow]) -> View:
    """The view of a new picture. A chosen session that is gone is chosen no more, nor is another in its place."""
    if view.page == "list" and view.chosen is not None and view.chosen not in _row_keys(rows):
        return replace(view, chosen=None)
    return view


def _listed_otherwise(view: View, key: str) -> View | None:
    """The view after a key that changes which rows are listed, and how; None after another one."""
    if key in _SORTS and shown_tab(view) == "sessions":
        return replace(view, sort=_SORTS[key])
    if key in _ORDERS:
        return replace(view, order=_ORDERS[key])
    if key in _TABS:
        return replace(view, tab=_TABS[key])
    match key:
        case "tab":
            return replace(view, tab="blocked" if shown_tab(view) == "sessions" else "sessions")
        case "/":
            return replace(view, is_typing=True)
        case "v":
            return replace(view, is_wrapped=not view.is_wrapped)
        case "g":
            return replace(view, is_grouped=not view.is_grouped)
        case "escape" if view.filter:
            return replace(view, filter="")
    return None


def _apply_filter_key(view: View, key: str) -> View:
    """The filter after a key; the list follows each of them."""
    match key:
        case "enter":
            return replace(view, is_typing=False)
        case "escape":
            return replace(view, is_typing=False, filter="")
        case "backspace":
            return replace(view, filter=view.filter[:-1])
    if len(key) == 1 and key.isprintable() and len(view.filter) < _LONGEST_FILTER:
        return replace(view, filter=view.filter + key)
    return view


def _choose_signal(view: View, signal: Signal, rows: Sequence[ListedRow]) -> Pressed:
    row = next((row for row in rows if row.key == view.chosen and row.key is not None), None)
    if row is None:
        return Pressed(replace(view, message=f"choose a session to {signal} first"))
    if row.pid is None:
        return Pressed(replace(view, message="a prepared transaction has no session to signal"))
    return Pressed(view, signal)


def _scroll_view(view: View, key: str, page_lines: int) -> View:
    if key in ("escape", "enter", "q", "Q", "left"):
        return replace(view, page="list", scrolled=0)
    by = _STEPS.get(key, 0) or _FAR.get(key, 0) * page_lines
    to = 0 if key == "home" else view.scrolled + by
    return replace(view, scrolled=max(to, 0))


def _move_cursor(view: View, key: str, rows: Sequence[ListedRow], page_lines: int) -> View:
    keys = _row_keys(rows)
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


def _row_keys(rows: Sequence[ListedRow]) -> list[Name]:
    return [row.key for row in rows if row.key is not None]
