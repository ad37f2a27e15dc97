"""`python -m tests.docs`: write the generated parts of the manual. With `sentences`: how long sentences are."""

import statistics
import sys

from tests.docs.generating import DOCS, write
from tests.docs.sentences import sentences, words


def report() -> None:
    every = []
    for file in [DOCS.parents[1] / "README.md", *sorted(DOCS.glob("*.md"))]:
        found = [(words(each), each) for each in sentences(file.read_text(encoding="utf-8"))]
        every += found
        lengths = [length for length, _ in found]
        mean = statistics.mean(lengths)
        print(f"{file.name:<20} {len(found):4} sentences, {mean:5.1f} words, at most {max(lengths)}")
        for length, text in found:
            if length > 30:
                print(f"    {length} words: {text}")
    print(f"mean of all: {statistics.mean(length for length, _ in every):.1f}")


if sys.argv[1:] == ["sentences"]:
    report()
else:
    write()
