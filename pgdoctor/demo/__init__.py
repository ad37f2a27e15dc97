"""A temporary Postgres with a real incident in it."""
