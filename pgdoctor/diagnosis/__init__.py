"""The pure core: a snapshot of the server in, a diagnosis out. No I/O, no clock."""
