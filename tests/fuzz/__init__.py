"""Hostile texts through the real entry points: no crash, no leak, no character that moves a terminal, no long time.

    python -m tests.fuzz --count 100000         all entry points, each with its share; prints a table
    python -m tests.fuzz --count 5000 --only statements --seed 7

Each text is made from a seed, the entry point's name and its number, so that `--seed 7 --first 1234 --count 1` makes
the same text again.
"""
