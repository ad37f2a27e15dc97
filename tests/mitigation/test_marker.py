"""Where the marker counts. H56: any user of an application protects its session by a literal."""

import time

import pytest

from pgdoctor.mitigation.marker import MARKER, leading_comments

PROTECTING = (
    f"/* {MARKER} */ select 1",
    f"-- {MARKER}",
    f"--{MARKER}\nselect 1",
    f"  /* a /* {MARKER} */ b */select 1",
    f"/* a */ -- b\n/* {MARKER}",
)
NOT_PROTECTING = (
    f"select '{MARKER}'",
    f'select 1 as "{MARKER}"',
    f"select 1 /* {MARKER} */",
    f"/* a */ select '/* {MARKER} */'",
    f"/* /* */ */ select $${MARKER}$$",
    f"- /* {MARKER} */",
    f"/* a */; /* {MARKER} */ select 1",
    "",
)


@pytest.mark.parametrize("statement", PROTECTING)
def test_h56_the_marker_counts_in_a_leading_comment(statement: str) -> None:
    assert MARKER in leading_comments(statement)


@pytest.mark.parametrize("statement", NOT_PROTECTING)
def test_h56_the_marker_counts_nowhere_else(statement: str) -> None:
    assert MARKER not in leading_comments(statement)


@pytest.mark.parametrize("piece", ["/*", "*/", "/**/", "--\n", "/* */ ", " ", "-", "/* -- \n */", "\r"])
def test_h56_no_text_takes_long(piece: str) -> None:
    text = piece * (65_536 // len(piece))
    began = time.process_time()
    leading_comments(text)
    assert time.process_time() - began < 0.05
