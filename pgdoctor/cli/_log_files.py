"""The files of a server's log: plain, compressed or standard input, read in blocks, in the order of their times."""

import bz2
import codecs
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pgdoctor.errors import UsageError
from pgdoctor.formatting import format_name
from pgdoctor.serverlog.cloud_export import may_be_export, unwrap_export
from pgdoctor.serverlog.formats import LogFormat
from pgdoctor.serverlog.reading import detect_format, first_time
from pgdoctor.serverlog.saved_tables import MOST_BYTES, Table, find_tables

#: Bytes that are read at a time, and by which a format is known. A process that is followed is searched for in the
#: rest of a block: with 1 MB, a log of lock waits alone took most of its time for that (measured).
BLOCK = 1 << 16
_FIRST = 1 << 18

STDIN = "-"

_GZIP, _BZIP, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"

#: What a compressed file may raise that is cut off or damaged.
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, OSError, ValueError)

#: Endings that say the same of one log; the later ones know more.
_ENDINGS = (".log", ".csv", ".json")
_COMPRESSED = (".gz", ".zst", ".bz2", ".xz")


class LogFile:
    """A file with the format that its beginning shows."""

    def __init__(self, name: str, prefix: str | None, stack: ExitStack) -> None:
        """Raises UsageError for one that cannot be read. It is open until the stack is left."""
        self.name = name
        self.size = 0
        #: What went wrong in the middle of it; empty: nothing.
        self.damage = ""
        self._stream = _open_stream(name, stack)
        self.first = self._read_first()
        self.tables: tuple[Table, ...] = ()
        if prefix is None and may_be_export(self.first):
            self._open_export()
        self.format: LogFormat | None = detect_format(self.first, prefix) if self.first.strip() else None
        if self.format is None and self.first.strip():
            self.tables = find_tables(self._read_whole().decode(errors="replace"))
        self.begins = first_time(self.format, self.first) if self.format is not None else None

    def read_blocks(self) -> Iterator[bytes]:
        """All of it, block by block. Damage ends it."""
        yield self.first
        while block := self._read_block(BLOCK):
            yield block

    def _open_export(self) -> None:
        """Go on with the lines in the export of a cloud, or with the same bytes where it is none."""
        whole = self._read_whole()
        if len(whole) >= MOST_BYTES:
            self.damage = f"{shown_name(self.name)} is JSON of more than {MOST_BYTES >> 20} MB: read up to there"
        self._stream = io.BytesIO(unwrap_export(whole) or whole)
        damage, self.damage, self.size = self.damage, "", 0
        self.first = self._read_first()
        self.damage = damage

    def _read_whole(self) -> bytes:
        """All of it, up to what rows may have."""
        found = self.first
        while len(found) < MOST_BYTES and (block := self._read_block(BLOCK)):
            found += block
        return found

    def _read_first(self) -> bytes:
        found = b""
        while len(found) < _FIRST and (block := self._read_block(_FIRST)):
            found += block
        return found

    def _read_block(self, size: int) -> bytes:
        if self.damage:
            return b""
        try:
            # Behind a crash a file may have blocks of nothing but zeros.
            while (read := self._stream.read(size)) and not (block := read.replace(b"\0", b"")):
                pass
        except _DAMAGED as error:
            self.damage = f"{shown_name(self.name)} is damaged or cut off ({type(error).__name__}): read up to there"
            return b""
        self.size += len(read)
        return block if read else b""


def open_logs(names: Sequence[str], prefix: str | None, stack: ExitStack) -> tuple[list[LogFile], list[str]]:
    """The files in the order of their times, and notes on those that are left out."""
    chosen, notes = _without_copies(list(dict.fromkeys(names)))
    files = [LogFile(name, prefix, stack) for name in chosen]
    empty = [each for each in files if not each.first.strip()]
    files = [each for each in files if each not in empty]
    notes += [f"{shown_name(each.name)} is empty" for each in empty]
    for each in files:
        if each.format is None and not each.tables:
            raise UsageError(
                f"{shown_name(each.name)}: neither a log with times (stderr, csvlog, jsonlog) nor rows of pg_locks or "
                "pg_stat_activity; --prefix gives its log_line_prefix"
            )
    # Those without a time keep their place.
    files.sort(key=lambda each: each.begins or datetime.max.replace(tzinfo=UTC))
    return files, notes


def shown_name(name: str) -> str:
    """A file's name for a message."""
    return "standard input" if name == STDIN else format_name(Path(name).name)


def _without_copies(names: list[str]) -> tuple[list[str], list[str]]:
    """One of the files that the server writes side by side with `log_destination = 'stderr,csvlog'`."""
    best: dict[str, tuple[int, str]] = {}
    for name in names:
        stem, rank = _split_name(name)
        if rank >= best.get(stem, (-1, ""))[0]:
            best[stem] = (rank, name)
    kept = {name for _, name in best.values()}
    kept |= {name for name in names if _split_name(name)[1] < 0}
    notes = [
        f"{shown_name(name)} is left out: {shown_name(best[_split_name(name)[0]][1])} has the same entries"
        for name in names
        if name not in kept
    ]
    return [name for name in names if name in kept], notes


def _split_name(name: str) -> tuple[str, int]:
    plain = name
    for ending in _COMPRESSED:
        plain = plain.removesuffix(ending)
    for rank, ending in enumerate(_ENDINGS):
        if plain.endswith(ending):
            return plain.removesuffix(ending), rank
    return name, -1


def _open_stream(name: str, stack: ExitStack) -> Any:
    if name == STDIN:
        stdin: Any = sys.stdin.buffer
        return _open_decompressed(stdin if hasattr(stdin, "peek") else io.BufferedReader(stdin), name, stack)
    try:
        return _open_decompressed(stack.enter_context(Path(name).open("rb")), name, stack)
    except OSError as error:
        raise UsageError(f"cannot read {shown_name(name)}: {error.strerror or type(error).__name__}") from None


def _open_decompressed(stream: Any, name: str, stack: ExitStack) -> Any:
    """The bytes behind the compression, which the first bytes show; the ending does not matter."""
    mark = stream.peek(6)[:6]
    if mark.startswith(_GZIP):
        return stack.enter_context(gzip.GzipFile(fileobj=stream))
    if mark.startswith(_BZIP):
        return stack.enter_context(bz2.BZ2File(stream))
    if mark.startswith(_XZ):
        return stack.enter_context(lzma.LZMAFile(stream))
    if mark.startswith(_ZSTD):
        return stack.enter_context(_open_zstd(stream, name))
    if mark.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        # As PowerShell writes what is redirected.
        return codecs.EncodedFile(stream, "utf-8", "utf-16", "replace")
    if mark.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
    return stream


def _open_zstd(stream: Any, name: str) -> Any:
    try:
        from compression import zstd  # Since Python 3.14.
    except ImportError:
        try:
            from backports import zstd
        except ImportError:
            raise UsageError(
                f"{shown_name(name)} is compressed with zstd: pip install 'pgdoctor[zstd]', or: zstd -dc FILE | "
                "pgdoctor read -"
            ) from None
    return zstd.ZstdFile(stream)
