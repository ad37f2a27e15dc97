"""Which index a statement lacks."""
