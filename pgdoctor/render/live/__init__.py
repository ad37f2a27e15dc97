"""The live view as values: what is on the screen of a terminal, and what a key changes. No terminal in here."""
