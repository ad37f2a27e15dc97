"""The one door to the server: connection, statements, collection, signals."""
