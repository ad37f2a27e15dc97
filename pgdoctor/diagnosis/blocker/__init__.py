"""What is known about one blocker."""
