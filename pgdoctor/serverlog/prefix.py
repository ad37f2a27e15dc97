"""`log_line_prefix`: a template becomes a pattern; without a template, the one that fits the lines is found."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cached_property
from operator import itemgetter
from typing import Protocol

import msgspec

from pgdoctor.errors import UsageError
from pgdoctor.serverlog.entry import read_epoch, read_time

#: Bytes of a line in which prefix and severity are looked for.
MOST_PREFIX = 1_000

#: An entry begins with one of these; what follows it has one of those.
BEGINNING = (b"LOG", b"ERROR", b"FATAL", b"WARNING", b"PANIC", b"NOTICE", b"INFO", b"DEBUG", b"DEBUG1", b"DEBUG2")
_FOLLOWING = (b"DETAIL", b"HINT", b"QUERY", b"CONTEXT", b"LOCATION", b"STATEMENT", b"BACKTRACE")
_SQLSTATE = rb":  (?:[0-9A-Z]{5}: )?"
_SEVERITY = rb"(?P<severity>" + b"|".join((*BEGINNING, *_FOLLOWING, b"DEBUG[345]")) + rb")" + _SQLSTATE
_FIRST_SEVERITY = rb"(?P<severity>" + b"|".join(BEGINNING) + rb")" + _SQLSTATE

_ZONE = rb"(?:[A-Za-z]{1,6}|[+-]\d{2,4}(?::?\d\d)?)"
_SECOND = rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"

#: What an escape may stand for. A name has 63 bytes at most; all of it is bounded, so that no line takes long.
_ESCAPES = {
    "a": rb"(?P<application>[^\n]{0,64}?)",
    "u": rb"(?P<user>[^\n]{0,64}?)",
    "d": rb"(?P<database>[^\n]{0,64}?)",
    "r": rb"(?P<client>[^\n ]{0,80}?)",
    "h": rb"(?P<client>[^\n ]{0,80}?)",
    "L": rb"[^\n ]{0,80}?",
    "b": rb"(?P<backend>[^\n]{0,64}?)",
    "p": rb"(?P<pid>\d{1,10})",
    "P": rb"\d{0,10}",
    "t": rb"(?P<time>" + _SECOND + rb" " + _ZONE + rb")",
    "m": rb"(?P<time>" + _SECOND + rb"\.\d{3} " + _ZONE + rb")",
    "n": rb"(?P<epoch>\d{1,12}\.\d{3})",
    "i": rb"[^\n]{0,64}?",
    "e": rb"[0-9A-Z]{5}",
    "c": rb"(?P<session>[0-9a-f]{1,12}\.[0-9a-f]{1,8})",
    "l": rb"\d{1,12}",
    "s": _SECOND + rb" " + _ZONE,
    "v": rb"[\d/-]{0,24}",
    "x": rb"\d{0,20}",
    "Q": rb"-?\d{0,20}",
    "%": rb"%",
}
_ESCAPE = re.compile(r"%(-?\d{0,3})([a-zA-Z%])")

#: What stands between the message and the STATEMENT of an entry, in this order, and what is read of it.
_IN_ORDER = (b"DETAIL", b"HINT", b"QUERY", b"CONTEXT", b"LOCATION")
_KEPT = (b"DETAIL", b"CONTEXT")

_GROUPS = ("severity", "time", "pid", "session", "user", "database", "application", "client", "backend")

#: Prefixes that are in use; of those that fit as many lines the first one is taken.
KNOWN = (
    "%m [%p] %q%u@%d/%a ",
    "%m [%p] %q[user=%u,db=%d,app=%a] ",
    "%m [%p] %q[%u@%d] ",
    "%m [%p] user=%u,db=%d,app=%a,client=%h ",
    "%m [%p] %quser=%u,db=%d,app=%a,client=%h ",
    "%m [%p]: user=%u,db=%d,app=%a,client=%h ",
    "%m [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ",
    "%t [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ",
    "%t [%p]: [%l-1] db=%d,user=%u,app=%a,client=%h ",
    "%t [%p]: user=%u,db=%d,app=%a,client=%h ",
    "%m [%p]: [%l-1] db=%d,user=%u ",
    "%m [%p]: db=%d,user=%u,app=%a,client=%h ",
    "%t [%p]: [%l-1] user=%u,db=%d ",
    "%t [%p] user=%u,db=%d,app=%a,client=%h ",
    "%m:%r:%u@%d:[%p]:%l:%e:%s:%v:%x:%c:%q%a:",
    "%m:%r:%u@%d:[%p]:%l:%e:%s:%v:%x:%c:%q%a",
    "%t:%r:%u@%d:[%p]:",
    "%m:%r:%u@%d:[%p]:",
    "%t-%c-",
    "%m [%p] %u@%d %a %h ",
    "%m [%p] %q%a %u@%d ",
    "%m [%p-%l] %q%u@%d ",
    "%t [%p-%l] %q%u@%d ",
    "%m [%p] %q%u@%d ",
    "%t [%p] %q%u@%d ",
    "%m [%p] %u@%d ",
    "%t [%p] %u@%d ",
    "%m %u@%d [%p] ",
    "%m [%p]: [%l-1] %u@%d ",
    "%t [%p]: [%l-1] %u@%d ",
    "%t [%p]: [%l-1] ",
    "%m [%p]: [%l-1] ",
    "%m %p %u@%d/%a ",
    "%m %p %u %d ",
    "%n [%p] %q%u@%d ",
    "< %m > ",
    "< %m %u@%d > ",
    "%m [%p] ",
    "%t [%p] ",
    "%m [%p]: ",
    "%t [%p]: ",
    "%n [%p] ",
    "%m %p ",
    "%m %c ",
    "%m ",
    "%t ",
)

#: Lines that are tried, and the share of them that has to fit.
_MOST_TRIED = 400
_ENOUGH = 0.8

#: Severity alone, behind a prefix that is known already.
BARE_SEVERITY = re.compile(_SEVERITY)

_ANYWHERE = re.compile(rb"(?:^|[^A-Za-z])" + _SEVERITY)
_TIME = re.compile(rb"(?P<time>" + _SECOND + rb"(?:[.,]\d{1,6})? ?(?:" + _ZONE + rb"|Z)?)")
#: What syslog or a container writes in front; it counts where the server itself writes no time.
_CARRIER_TIME = re.compile(rb"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d))")
_OWN_PID = re.compile(rb":  (?:[0-9A-Z]{5}: )?process (\d{1,10}) (?:still waiting|acquired|detected)")
_BRACKETS = re.compile(rb"\[(\d{1,10})(?:-\d+)?\]")
_KEYS = {
    "pid": re.compile(rb"\b(?:pid|p)=(\d{1,10})"),
    "user": re.compile(rb"\b(?:user|usr|u)=([^,\s]{1,64})"),
    "database": re.compile(rb"\b(?:database|dbname|db|d)=([^,\s]{1,64})"),
    "application": re.compile(rb"\b(?:application|app|a)=([^,\]]{1,64})"),
    "client": re.compile(rb"\b(?:client|host|remote|h|r)=([^,\s\]]{1,80})"),
}
_AT = re.compile(rb"([^\s@\[\]:,]{1,64})@([^\s/\[\]:,]{1,64})")


class Head(msgspec.Struct, frozen=True, gc=False):
    """The head of a line: what its prefix says, its severity, and where its text begins."""

    severity: bytes
    begin: int
    #: As the line has it: `2026-11-30 03:17:39.505 UTC`, or seconds since 1970.
    time: bytes | None
    pid: int | None
    user: bytes | None = None
    database: bytes | None = None
    application: bytes | None = None
    client: bytes | None = None
    backend: bytes | None = None

    def read_time(self) -> datetime | None:
        """The moment; None where it is none."""
        return read_moment(self.time) if self.time is not None else None


class WholeEntry(msgspec.Struct, frozen=True, gc=False):
    """An entry of one process that no line of others interrupts, and where it ends; None: it has no such line."""

    severity: bytes
    time: bytes
    pid: int | None
    #: User, database, application, client and type of backend.
    names: tuple[bytes | None, ...]
    end: int
    message: bytes
    detail: bytes | None
    context: bytes | None
    statement: bytes


def read_moment(time: bytes) -> datetime | None:
    """The moment that a prefix says; None where it is none."""
    text = time.decode()
    return read_time(text) if text[4:5] == "-" else read_epoch(text)


class Prefix(Protocol):
    """Reads the heads of lines."""

    #: As the person would write it; empty where it was only guessed at.
    template: str
    #: Where the PID stands: its last group; None where the prefix does not say.
    pid_pattern: re.Pattern[bytes] | None

    def read_head(self, line: bytes) -> Head | None:
        """The head of a line; None where it has none."""

    def match_entry(self, block: bytes, start: int, most: int) -> WholeEntry | None:
        """The entry that begins there, if it ends within so many bytes; None: its lines are to be read one by one."""

    def write_pid(self, pid: int) -> bytes:
        """A PID as that group has it."""


class TemplatePrefix:
    """The prefix of a template."""

    def __init__(self, template: str) -> None:
        """Raises UsageError for one that names neither time nor process."""
        self.template = template
        self._pattern = re.compile(b"".join(_compile_parts(template)) + _SEVERITY)
        names = self._pattern.groupindex
        if "time" not in names and "epoch" not in names:
            raise UsageError(f"--prefix {template[:80]!r} has no time: it needs %m, %t or %n")
        self._has_pid = "pid" in names
        # The place of each group; of those that are not there, the one behind the last.
        order = [names.get(name, 0) - 1 for name in _GROUPS]
        order[1] = names.get("time", names.get("epoch", 0)) - 1
        self._pick = itemgetter(*order)
        self.pid_pattern = _compile_pid(template)

    def read_head(self, line: bytes) -> Head | None:
        """The head of a line; None where it has none."""
        found = self._pattern.match(line[:MOST_PREFIX])
        return self._build_head(found, found.end()) if found is not None else None

    def match_entry(self, block: bytes, start: int, most: int) -> WholeEntry | None:
        """The entry that begins there, if it ends within so many bytes; None: its lines are to be read one by one."""
        found = self._whole_entry.match(block, start, start + most)
        if found is None:
            return None
        groups = found.groups()
        severity, time, pid, session, *names = self._pick((*groups, None))
        number = int(pid) if pid else int(session.rpartition(b".")[2], 16) if session else None
        message, detail, context, statement = groups[-4:]
        return WholeEntry(severity, time, number, tuple(names), found.end(), message, detail, context, statement)

    @cached_property
    def _whole_entry(self) -> re.Pattern[bytes]:
        return _compile_whole_entry(self.template)

    def _build_head(self, found: re.Match[bytes], begin: int) -> Head:
        severity, time, pid, session, *names = self._pick((*found.groups(), None))
        number = int(pid) if pid else int(session.rpartition(b".")[2], 16) if session else None
        return Head(severity, begin, time, number, *names)

    def write_pid(self, pid: int) -> bytes:
        """A PID as that group has it."""
        return (str(pid) if self._has_pid else f"{pid:x}").encode()


def _compile_pid(template: str) -> re.Pattern[bytes] | None:
    """Where a line has its PID, as the last group: between what the template has on both sides of it."""
    end, letters = 0, [found[2] for found in _ESCAPE.finditer(template)]
    letter = "p" if "p" in letters else "c"
    for found in _ESCAPE.finditer(template):
        before, end = template[end : found.start()].encode(), found.end()
        if found[2] != letter:
            continue
        begin = b"(?m)^" if found.start() == len(before) else b"" if before else rb"(?<!\w)"
        room = b" {0,64}" if found[1] else b""
        pid = rb"(\d{1,10})(?!\d)" if letter == "p" else rb"[0-9a-f]{1,12}\.([0-9a-f]{1,8})(?![0-9a-f])"
        after = re.escape(template[end:].partition("%")[0].encode())
        return re.compile(begin + re.escape(before) + room + pid + room + b"(?=%b)" % after)
    return None


def _compile_whole_entry(template: str) -> re.Pattern[bytes]:
    head = b"".join(_compile_parts(template))
    again = b"".join(_compile_parts(template, is_again=True))
    text = rb"[^\n]*+(?:\n\t[^\n]*+)*+"
    follow = [
        b"(?:(?>%b)%b:  (?P<%b>%b)\n)?+" % (again, word, word.lower(), text)
        if word in _KEPT
        else b"(?:(?>%b)%b:  %b\n)?+" % (again, word, text)
        for word in _IN_ORDER
    ]
    last = b"(?>%b)STATEMENT:  (?P<statement>%b)\n" % (again, text)
    return re.compile(b"(?>%b%b)(?P<message>[^\n]*+)\n%b%b" % (head, _FIRST_SEVERITY, b"".join(follow), last))


class GuessedPrefix:
    """A prefix of unknown form, of which time, PID and the usual keys are found wherever they stand."""

    template = ""

    def __init__(self, pid: re.Pattern[bytes]) -> None:
        self._pid = pid
        self.pid_pattern: re.Pattern[bytes] | None = re.compile(pid.pattern + b"|" + _KEYS["pid"].pattern)

    def read_head(self, line: bytes) -> Head | None:
        """The head of a line; None where it has none."""
        found = _ANYWHERE.search(line[:MOST_PREFIX])
        if found is None:
            return None
        lead = line[: found.start("severity")]
        times = _TIME.search(lead) or _CARRIER_TIME.search(lead)
        if times is None:
            return None
        pid = self._pid.search(lead) or _KEYS["pid"].search(lead)
        names = _AT.search(lead)
        keys = {name: each[1] for name, pattern in _KEYS.items() if (each := pattern.search(lead))}
        return Head(
            found["severity"],
            found.end(),
            times["time"].replace(b",", b"."),
            int(pid[1]) if pid else None,
            keys.get("user") or (names[1] if names else None),
            keys.get("database") or (names[2] if names else None),
            keys.get("application"),
            keys.get("client"),
        )

    def match_entry(self, block: bytes, start: int, most: int) -> WholeEntry | None:  # noqa: ARG002
        """None: what is the same in all lines of an entry is not known."""
        return None

    def write_pid(self, pid: int) -> bytes:
        """A PID as that group has it."""
        return str(pid).encode()


def detect_prefix(lines: Iterable[bytes]) -> Prefix | None:
    """The prefix of a log's lines; None where too few of them have one with a time."""
    sample = list(_choose_sample(lines))
    if not sample:
        return None
    best, most = None, 0
    for template in KNOWN:
        prefix = TemplatePrefix(template)
        fitting = sum(prefix.read_head(line) is not None for line in sample)
        if fitting > most:
            best, most = prefix, fitting
    if best is not None and most >= _ENOUGH * len(sample):
        return best
    guessed = GuessedPrefix(_find_pid_pattern(sample))
    if sum(guessed.read_head(line) is not None for line in sample) >= max(most, 1):
        return guessed
    return best


def _choose_sample(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines that begin or continue an entry; those that say their own PID come first, as evidence of where it is."""
    number = 0
    for line in lines:
        # Behind a tab stands more of a text, which may look like anything.
        if not line.startswith(b"\t") and _ANYWHERE.search(line[:MOST_PREFIX]) is not None:
            yield line
            number += 1
            if number >= _MOST_TRIED:
                return


def _find_pid_pattern(sample: Iterable[bytes]) -> re.Pattern[bytes]:
    """Where the PID stands: where lines that name their own process in the text have it."""
    found: Counter[re.Pattern[bytes]] = Counter()
    for line in sample:
        own = _OWN_PID.search(line)
        if own is None:
            continue
        lead = line[: own.start()]
        brackets = _BRACKETS.search(lead)
        if brackets is not None and brackets[1] == own[1]:
            found[_BRACKETS] += 1
            continue
        for place in re.finditer(rb"(?<!\d)" + own[1] + rb"(?!\d)", lead):
            before = re.escape(lead[max(place.start() - 1, 0) : place.start()])
            after = re.escape(lead[place.end() : place.end() + 1])
            found[re.compile(before + rb"(\d{1,10})" + after)] += 1
    return found.most_common(1)[0][0] if found else _BRACKETS


def _compile_parts(template: str, *, is_again: bool = False) -> Iterator[bytes]:
    """The pattern of a template, piece by piece. Raises UsageError for an escape that there is not.

    `is_again`: of the next lines of an entry, whose names, time and process are those of its first one.
    """
    end, is_optional, named = 0, False, set[str]()
    for found in _ESCAPE.finditer(template):
        yield re.escape(template[end : found.start()].encode())
        end = found.end()
        letter = found[2]
        if letter == "q":
            if not is_optional:
                yield b"(?:"
            is_optional = True
        elif letter not in _ESCAPES:
            raise UsageError(f"--prefix: %{letter} is not an escape of log_line_prefix")
        else:
            pattern = _ESCAPES[letter]
            name = re.match(rb"\(\?P<(\w+)>", pattern)
            if name is not None:
                key = name[1].decode()
                if is_again:
                    pattern = b"(?P=%b)" % name[1]
                elif key in named:
                    pattern = b"(?:" + pattern[name.end() :]
                named.add(key)
            yield rb" {0,64}" + pattern + rb" {0,64}" if found[1] else pattern
    yield re.escape(template[end:].encode())
    if is_optional:
        yield b")?"
