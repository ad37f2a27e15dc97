"""Incidents: their course, and what is stored of them."""
