"""The part of mitigation that does I/O: it asks, plans, records and signals."""
