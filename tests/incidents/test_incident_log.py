"""Records of incidents that cannot be read: they are counted, and stop no command."""

from pgdoctor.incidents.incident_log import read_entries


def test_byte_that_is_no_text_makes_a_record_unreadable() -> None:
    assert read_entries([b'{"event":"started","id":"\xa7"}']) == ([], 1)
