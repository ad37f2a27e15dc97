"""What is remembered from one snapshot to the next."""
