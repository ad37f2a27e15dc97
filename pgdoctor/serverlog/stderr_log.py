"""The log of stderr or syslog: lines with a prefix, of which several make an entry."""

import re
from datetime import datetime
from functools import lru_cache

from pgdoctor.serverlog.entry import MOST_DETAIL, MOST_TEXT, Entry, read_name
from pgdoctor.serverlog.formats import LogFormat, Reading, line_end
from pgdoctor.serverlog.messages import is_telling
from pgdoctor.serverlog.prefix import BARE_SEVERITY, BEGINNING, MOST_PREFIX, Head, Prefix, WholeEntry, read_moment

#: Bytes and foreign entries behind which an entry is over, though it has no STATEMENT: others may write between.
_MOST_BYTES = 65_536
_MOST_BETWEEN = 8

#: Lines of others, or of nothing that is known, that may stand between.
_MOST_LINES = 100

#: Messages of which no other line is read.
_ALONE = ("terminating ", "database system ")

_TAIL = {b"DETAIL": "detail", b"CONTEXT": "context", b"STATEMENT": "statement"}


class StderrLog:
    """Reads entries of a log with a prefix."""

    name = "stderr"

    def __init__(self, prefix: Prefix) -> None:
        self.prefix = prefix

    def is_like(self, other: LogFormat) -> bool:
        """It reads what the other one reads."""
        return isinstance(other, StderrLog) and other.prefix.template == self.prefix.template

    @property
    def pid_pattern(self) -> re.Pattern[bytes] | None:
        """Where the PID of a line stands: its last group; None where the prefix does not say."""
        return self.prefix.pid_pattern

    def write_pid(self, pid: int) -> bytes:
        """A PID as that group has it."""
        return self.prefix.write_pid(pid)

    def read_entry(self, block: bytes, hit: int, *, is_last: bool, is_any: bool = False) -> Reading:
        """The entry that begins on the line of `hit`; `is_any`: one that says nothing of locks, too."""
        start = block.rfind(b"\n", 0, hit) + 1
        whole = self.prefix.match_entry(block, start, _MOST_BYTES)
        if whole is not None and (is_last or whole.end < len(block)):
            return _read_whole_entry(whole, is_any=is_any)
        end = line_end(block, hit)
        is_more = block.startswith(b"\t", start)
        head = None if is_more else self.prefix.read_head(block[start : min(end, start + MOST_PREFIX)])
        if head is None or head.severity not in BEGINNING:
            return Reading(end)
        message = block[start + head.begin : end].decode(errors="replace")
        if not is_any and not is_telling(message):
            return Reading(end)
        at = head.read_time()
        if at is None:
            return Reading(end)
        lead = block[start : start + head.begin].rpartition(head.severity + b":  ")[0]
        tail = _Tail(self.prefix, head, lead, message)
        is_whole = message.startswith(_ALONE) or tail.take_lines(block, end)
        if not is_whole and not is_last and len(block) - start < _MOST_BYTES:
            return Reading(end, carry=start)
        return Reading(end, tail.build_entry(at))

    def read_time(self, line: bytes) -> Entry | None:
        """The line alone, for its time."""
        head = self.prefix.read_head(line)
        at = head.read_time() if head is not None else None
        return Entry(at, None, "") if at is not None else None


class _Tail:
    """The lines behind the first one of an entry."""

    def __init__(self, prefix: Prefix, head: Head, lead: bytes, message: str) -> None:
        self._prefix = prefix
        self._head = head
        self._lead = lead
        self._texts: dict[str, list[str]] = {"message": [message]}
        self._room = dict.fromkeys(("message", "context", "statement"), MOST_TEXT) | {"detail": MOST_DETAIL}

    def take_lines(self, block: bytes, position: int) -> bool:
        """Take the lines that belong to the entry; False where the block ends before that is certain."""
        part: str | None = "message"
        others, lines, most = 0, 0, position + _MOST_BYTES
        while position < len(block):
            if position > most or others >= _MOST_BETWEEN or lines >= _MOST_LINES:
                return True
            end = line_end(block, position)
            if block[position : position + 1] == b"\t":
                self._add_text(part, block[position + 1 : end])
                position = end
                continue
            if "statement" in self._texts:
                return True  # Nothing comes behind it.
            head = self._read_head(block, position, end)
            part = None
            lines += head is None or not head[2]
            if head is None:
                pass
            elif head[0] in BEGINNING:
                if head[2]:
                    return True
                others += 1
            elif head[2]:
                part = _TAIL.get(head[0])
                self._add_text(part, block[position + head[1] : end])
            position = end
        return False

    def _read_head(self, block: bytes, position: int, end: int) -> tuple[bytes, int, bool] | None:
        """Severity, where the text begins, and whether it is of the same process; most have the same prefix."""
        if block.startswith(self._lead, position):
            found = BARE_SEVERITY.match(block, position + len(self._lead))
            if found is not None:
                return found["severity"], found.end() - position, True
        head = self._prefix.read_head(block[position : min(end, position + MOST_PREFIX)])
        if head is None:
            return None
        return head.severity, head.begin, head.pid == self._head.pid and (head.pid is not None or self._lead == b"")

    def _add_text(self, part: str | None, text: bytes) -> None:
        if part is not None and (room := self._room[part]) > 0:
            self._texts.setdefault(part, []).append(text[:room].decode(errors="replace").rstrip("\r\n"))
            self._room[part] = room - len(text)

    def build_entry(self, at: datetime) -> Entry:
        """The entry, as far as its lines were there."""
        head, texts = self._head, {part: "\n".join(lines) for part, lines in self._texts.items()}
        return Entry(
            at,
            head.pid,
            texts["message"].rstrip("\r\n"),
            texts.get("detail", ""),
            texts.get("context", ""),
            texts.get("statement"),
            *_read_names(head.user, head.database, head.application, head.client, head.backend),
        )


def _read_whole_entry(found: WholeEntry, *, is_any: bool) -> Reading:
    message = found.message.decode(errors="replace").rstrip("\r")
    at = read_moment(found.time) if is_any or is_telling(message) else None
    if at is None:
        return Reading(found.end)
    entry = Entry(
        at,
        found.pid,
        message,
        _decode_text(found.detail, MOST_DETAIL),
        _decode_text(found.context, MOST_TEXT),
        _decode_text(found.statement, MOST_TEXT),
        *_read_names(*found.names),
    )
    return Reading(found.end, entry)


def _decode_text(text: bytes | None, room: int) -> str:
    """A text of one or more lines, without the tabs in front of them; empty where there is none."""
    if text is None:
        return ""
    if b"\n" not in text:
        return text[:room].decode(errors="replace").rstrip("\r")
    return text[:room].decode(errors="replace").replace("\r\n", "\n").replace("\n\t", "\n").rstrip("\r")


@lru_cache(maxsize=1024)
def _read_names(*names: bytes | None) -> tuple[str | None, ...]:
    return tuple(read_name(_decode_name(name)) for name in names)


def _decode_name(name: bytes | None) -> str | None:
    return None if name is None else name.decode(errors="replace").strip()
