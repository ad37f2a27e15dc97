"""The tables, found by looking into this folder: `ACTIONS` of ALTER TABLE, and `STATEMENTS`."""
