"""Values that everything else speaks of: snapshots, waits, diagnoses."""
