"""HTML in which text of a database is escaped, on one line, and cannot change the writing direction around it."""

from collections.abc import Iterable
from html import escape
from zlib import crc32

from pgdoctor.render.plain import format_one_line
from pgdoctor.render.web.assets import DOCUMENT_STYLE, SCRIPT, STYLE

#: Seconds between two loads of the page where no script runs.
REFRESH = 5

#: Characters of a name, a sentence and a statement that are shown.
_NAME_WIDTH = 80
_TEXT_WIDTH = 600
STATEMENT_WIDTH = 400

#: By kind of a page: the colour of its icon in the browser's tab.
_COLOURS = {"good": "%232e9e4f", "warn": "%23e09500", "bad": "%23d3302f"}
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E"
    "%3Ccircle r='4' cx='4' cy='4' fill='"
)
_ICON_END = "'/%3E%3C/svg%3E"


def text_markup(words: str, width: int = _TEXT_WIDTH) -> str:
    """Words of ours, in which a name may stand. Control, format and line-breaking characters show as �."""
    return escape(format_one_line(words, width), quote=False)


def name_markup(name: str | None, width: int = _NAME_WIDTH) -> str:
    """A name chosen by a user. Its writing direction does not reach beyond it."""
    return f"<bdi>{text_markup(name or '?', width)}</bdi>"


def sentence_markup(words: str) -> str:
    """A sentence of ours around a name, kept apart from what stands beside it."""
    return f"<bdi>{text_markup(words)}</bdi>"


def code_markup(statement: str, width: int = STATEMENT_WIDTH) -> str:
    """A statement."""
    return f"<code>{text_markup(statement, width)}</code>"


def sql_name(sql: str) -> str:
    """The id of a piece of SQL on the page: the same at each load, so that the script finds it again."""
    return f"sql-{crc32(sql.encode()):08x}"


def paste_markup(name: str, sql: str, what: str) -> str:
    """SQL to paste, whole, with a button that copies it; `name` is its id on the page, `what` what it does."""
    button = copy_button(name, f"copy-{name}", what)
    return f'<p class="sql"><code id="{name}">{escape(sql, quote=False)}</code> {button}</p>'


def copy_button(name: str, own: str, what: str) -> str:
    """A button that copies the text of the element `name`; without a script it does not show."""
    return f'<button type="button" class="copy" id="{own}" data-copy="{name}">Copy SQL: {text_markup(what)}</button>'


def client_markup(user: str | None, database: str | None, application: str | None) -> str:
    """Whose session it is."""
    at = f"@{name_markup(database)}" if database else ""
    program = f" “{name_markup(application)}”" if application else ""
    return f'<span class="dim">{name_markup(user)}{at}{program}</span>'


def note_markup(kind: str, words: str) -> str:
    """Something that is to be seen; `kind` is good, warn or bad."""
    return f'<p class="note {kind}">{sentence_markup(words)}</p>'


def page_markup(kind: str, title: str, main: str, foot: str) -> str:
    """A whole page, that keeps itself up to date: by its script, or else by loading itself again."""
    return "\n".join(
        (
            '<!doctype html><html lang="en" dir="ltr"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f'<noscript><meta http-equiv="refresh" content="{REFRESH}"></noscript>',
            f'<link rel="icon" href="{_ICON}{_COLOURS[kind]}{_ICON_END}">',
            f"<title>{text_markup(title)}</title><style>{STYLE}</style></head><body>",
            '<p id="stale" class="note bad" role="alert" hidden></p><p id="news" class="unseen" role="status"></p>',
            f'<main id="main">{main}</main>',
            f'<footer><p>{foot}</p><p id="live"><noscript>reloads every {REFRESH} s</noscript></p></footer>',
            f"<script>{SCRIPT}</script></body></html>",
        )
    )


def document_markup(title: str, main: Iterable[str]) -> str:
    """A whole page that stays as it is, and loads nothing: no script, font or picture."""
    return "\n".join(
        (
            '<!doctype html><html lang="en" dir="ltr"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{text_markup(title)}</title>",
            f"<style>{STYLE}</style><style>{DOCUMENT_STYLE}</style></head><body><main>",
            *main,
            "</main></body></html>\n",
        )
    )
