"""Baselines that are learnt, and deviations from them."""
