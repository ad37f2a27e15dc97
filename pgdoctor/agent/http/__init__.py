"""What the agent serves, to whom, and how many clients at once."""
