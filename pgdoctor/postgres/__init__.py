"""The only access to the server: connection, statements, collection, signals."""
