"""What a server's log says of lock waits: its lines in, incidents out. Pure."""
