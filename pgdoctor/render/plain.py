"""Text from a database made safe for one line of a terminal: it may hold anything its clients chose."""


def format_one_line(text: str, width: int) -> str:
    """`text` without control, format and line-breaking characters, cut to `width` characters.

    Escape sequences, right-to-left marks and newlines in a name would otherwise redraw the reader's screen.
    """
    # Cut first: a statement can be long, and no character becomes shorter than itself.
    clean = "".join(character if character.isprintable() else "�" for character in text[: width + 1])
    return clean if len(clean) <= width else clean[: width - 1] + "…"
