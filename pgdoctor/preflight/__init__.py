"""What a statement would lock, for how long, and what is in its way: judged before it runs."""
