"""What happened: decisions, incidents, snapshots and what was learnt, in a file that outlives the process."""
