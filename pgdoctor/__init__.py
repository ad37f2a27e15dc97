"""pgdoctor: finds the session that blocks your Postgres, says why, and can release it."""

__version__ = "0.2.0"
