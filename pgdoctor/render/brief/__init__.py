"""Answers short enough for the context window of an assistant: counts, the first few of each kind, and the rest."""
