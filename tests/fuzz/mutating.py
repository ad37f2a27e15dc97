"""How texts are changed: small steps, chosen by a random generator that the caller has seeded."""

import random
from collections.abc import Sequence

#: What moves terminals, ends lines, folds oddly, or is no character of its own.
HOSTILE = (
    *("\x1b[2J", "\x1b]0;x\x07", "\r", "\x00", "\x07", "\x08", "\x7f", "\x85", "\x9b31m", "\u202e", "\u2066", "\u200f"),
    *("\u2028", "\u061c", "\ufeff", "\u212a", "İ", "ß", "\U0001f600", "e\u0301" * 9, "\ufffd", "\t", "\n"),
    *("\\", "%s", "{}"),
)

_LONGEST = 65_536


def generator(seed: int, entry: str, number: int) -> random.Random:
    """The generator of one text."""
    return random.Random(f"{seed}/{entry}/{number}")


def cut(rng: random.Random, text: str) -> str:
    """The text up to any place in it, byte by byte, as a server cuts it."""
    raw = text.encode(errors="replace")
    return raw[: rng.randint(0, len(raw))].decode(errors="replace")


def random_text(rng: random.Random, most: int = 200) -> str:
    """Bytes without NUL, decoded as the driver does."""
    return bytes(rng.randint(1, 255) for _ in range(rng.randint(0, most))).decode(errors="replace")


def mutated(rng: random.Random, text: str, pieces: Sequence[str], longest: int = _LONGEST) -> str:
    """The text after one to four changes."""
    for _ in range(rng.randint(1, 4)):
        place = rng.randint(0, len(text))
        end = min(place + rng.randint(0, 40), len(text))
        match rng.randrange(9):
            case 0:
                text = cut(rng, text)
            case 1:
                text = text[:place] + text[end:]
            case 2:
                text = text[:place] + rng.choice(pieces) + text[place:]
            case 3:
                text = text[:place] + rng.choice(HOSTILE) + text[place:]
            case 4:
                text = text[:end] + text[place:]
            case 5:
                piece = rng.choice(pieces) or "x"
                room = max(longest - len(text), 0) // len(piece)
                number = rng.choice((2, 10, 10, 30, 100, 300, 1_000, room))
                text = text[:place] + piece * min(number, room) + text[place:]
            case 6:
                text = text[:place] + text[place:end] * rng.choice((2, 20, 200)) + text[end:]
            case 7:
                text = text[:place] + random_text(rng, 40) + text[end:]
            case _:
                text = text[:place] + chr(rng.choice((rng.randint(1, 126), rng.randint(128, 0xD7FF)))) + text[end:]
    return text[:longest]
