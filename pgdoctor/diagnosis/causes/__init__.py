"""The causes, one file a class. A new one is a new file here; nothing else mentions it."""
