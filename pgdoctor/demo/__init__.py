"""A throw-away Postgres with a real incident in it."""
