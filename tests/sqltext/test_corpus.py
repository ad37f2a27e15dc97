"""Statements of other projects: all must be redacted, and nearly all understood.

    PGDOCTOR_TEST_CORPUS=/somewhere/postgres/src/test/regress/sql pytest -rP tests/sqltext/test_corpus.py

Every `.sql` file below that folder is read; none is kept here. It is psql's input: its own commands and the rows of
COPY are left out; its variables (`:qry`) and what is meant to be no SQL count as not understood.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgdoctor.sqltext.lexer import scan_tokens
from pgdoctor.sqltext.redact import redact
from pgdoctor.sqltext.statement import read_statement

_FOLDER = os.environ.get("PGDOCTOR_TEST_CORPUS")

#: Rows behind COPY ... FROM STDIN, and commands of psql, which end a statement (`\\gexec`) or stand alone.
_ROWS = re.compile(r"^(\s*copy\b[^;]*?\bfrom\s+stdin\b[^;]*;).*?^\\\.$", re.IGNORECASE | re.MULTILINE | re.DOTALL)
_SENT = re.compile(r"\\g(?:set|exec|desc|x)?\b[^\n]*|\\(?:parse|bind\w*|close\w*|sendpipeline|crosstabview)\b[^\n]*")
_COMMAND = re.compile(r"^\s*\\[^\n]*", re.MULTILINE)


def statements(folder: Path) -> Iterator[str]:
    """Each statement of each file, as often as it is there."""
    for file in sorted(folder.rglob("*.sql")):
        text = file.read_text(encoding="utf-8", errors="replace")
        text = _COMMAND.sub("", _SENT.sub(";", _ROWS.sub(r"\1", text)))
        yield from split(text)


def split(text: str) -> Iterator[str]:
    """The statements between semicolons, those in brackets (CREATE RULE) and in BEGIN ATOMIC ... END left alone."""
    start = depth = atomic = 0
    last = ""
    for token in scan_tokens(text):
        depth += token.is_symbol("(") - token.is_symbol(")")
        if token.is_word("atomic") and last == "begin":
            atomic = 1
        elif atomic:
            atomic += token.is_word("case") - token.is_word("end")
        if token.is_symbol(";") and depth <= 0 and not atomic:
            yield text[start : token.start].strip()
            start, depth = token.end, 0
        last = token.value
    yield text[start:].strip()


@pytest.mark.skipif(not _FOLDER, reason="PGDOCTOR_TEST_CORPUS names no folder with .sql files")
@pytest.mark.deadline(600)
def test_every_statement_is_redacted_and_nearly_every_one_is_understood() -> None:
    assert _FOLDER is not None
    kinds: Counter[str] = Counter()
    strange: list[str] = []
    for text in statements(Path(_FOLDER)):
        if not any(scan_tokens(text)):
            continue
        shown = redact(text)
        assert redact(shown) == shown
        assert "'" not in shown
        kind = read_statement(text).kind
        kinds[kind] += 1
        if kind == "unknown":
            strange.append(text)
    number = kinds.total()
    assert number, f"no statement in {_FOLDER}"
    known = 1 - kinds["unknown"] / number
    print(f"{number:,} statements, the kind of {known:.2%} is known; the others:")
    for text in strange:
        print("  ", text[:100].replace("\n", " "))
    assert known > 0.99
