"""Telling other systems of incidents: a POST to each configured receiver, none of which can delay a poll."""
