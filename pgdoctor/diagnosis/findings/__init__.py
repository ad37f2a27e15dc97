"""What can be wrong beside locks, one file a finding. A new one is a new file here; nothing else mentions it."""
