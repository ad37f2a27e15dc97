"""Names that no server stores as they are written: a rule or protection with one would never fit."""

#: NAMEDATALEN - 1; longer names are cut.
MOST_BYTES = 63

_PRINTABLE = range(32, 127)

#: Roles without members in pg_auth_members, and why.
_NO_MEMBERS = {
    "public": "PUBLIC is not a role",
    "pg_database_owner": "no catalog lists its member, the owner of the database; name the owner",
}


def find_reason_against(key: str, name: str) -> str | None:
    """What has to be written instead of a name at `usename`, `datname`, `member_of` or `application_name`.

    None: the server may store it as it is.
    """
    if "*" in name:
        return "a whole name without wildcards"
    if "\0" in name:
        return "a name without the character NUL"
    if key == "application_name":
        return _find_reason_against_application(name)
    if len(name.encode(errors="replace")) > MOST_BYTES:
        return f"a name of at most {MOST_BYTES} bytes: the server truncates longer ones"
    if key == "member_of" and name in _NO_MEMBERS:
        return f"another role: {_NO_MEMBERS[name]}"
    return None


def _find_reason_against_application(name: str) -> str | None:
    raw = name.encode(errors="replace")
    if all(byte in _PRINTABLE for byte in raw):
        return f"at most {MOST_BYTES} bytes: the server stores '{_cut_bytes(raw)}'" if len(raw) > MOST_BYTES else None
    # Cut first, by whole characters; from 16 on what takes the place of a byte is longer, and cut again.
    stored = _cut_bytes(raw).encode()
    older = bytes(byte if byte in _PRINTABLE else ord("?") for byte in stored).decode()
    newer = "".join(chr(byte) if byte in _PRINTABLE else f"\\x{byte:02x}" for byte in stored)[:MOST_BYTES]
    return f"printable ASCII: the server stores '{newer}' from version 16 on, '{older}' before; write these two"


def _cut_bytes(raw: bytes) -> str:
    return raw[:MOST_BYTES].decode(errors="ignore")
