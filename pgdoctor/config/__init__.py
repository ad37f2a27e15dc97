"""The configuration file: its types, how it is read, what is wrong with it."""
