"""H78: names that clients chose redraw the reader's terminal, hide text, or look like another line.

C0, DEL, C1, line separators and changes of direction in every name: no output has one of them as it is.
"""

import json
from unicodedata import category

import pytest
from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.escape import encode_json, escape_text
from tests.building import snapshot
from tests.forked import pgdoctor
from tests.mitigation.build import usual
from tests.test_secrets import outputs

HOSTILE = [
    *(chr(code) for code in range(0x20)),
    *(chr(code) for code in range(0x7F, 0xA0)),
    *"\u061c\u200b\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\U000e0041",
]
NAME = f"a{''.join(HOSTILE)}z"

#: Written by `msgspec` itself in the helper, or never printed.
_NOT_PRINTED = {"kept", "alert", "plan in JSON"}


def bad(text: str) -> set[str]:
    return {f"U+{ord(char):04X} {category(char)}" for char in text if not (char.isprintable() or char == "\n")}


def test_h78_no_output_has_a_control_character() -> None:
    sessions = [
        replace(each, usename=NAME, application_name=NAME, datname=NAME, statement=f"alter table {NAME} -- {NAME}")
        for each in usual()
    ]
    server = {"database": NAME, "host": NAME, "port": 5432, "user": NAME, "cluster_name": NAME}
    found = diagnose(snapshot(sessions, **server))
    for output, text in outputs(found):
        if output not in _NOT_PRINTED:
            assert bad(text) == set(), output


@pytest.mark.parametrize("text", [*HOSTILE, NAME, "plain", "Zürich ✓", "𝄞"])
def test_json_means_what_it_meant(text: str) -> None:
    encoded = encode_json({"name": text, text: [text]})
    assert json.loads(encoded) == {"name": text, text: [text]}
    assert encoded.decode().isprintable()


def test_printable_text_is_unchanged() -> None:
    assert encode_json("Zürich ✓ 𝄞").decode() == '"Zürich ✓ 𝄞"'
    assert escape_text("Zürich ✓") == "Zürich ✓"
    assert escape_text("a\u202eb\x9bc\n") == r"a\u202eb\x9bc\n"


def test_errors_on_stderr_have_none() -> None:
    name = "".join(char for char in NAME if char != "\0")
    for arguments in ((name,), ("explain", name), ("diagnose", f"--{name}"), ("config", "check", "--config", name)):
        done = pgdoctor(*arguments)
        assert done.returncode == 2
        assert bad(done.stderr) == set(), arguments
        assert done.stderr.count("\n") == 1
