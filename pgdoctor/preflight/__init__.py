"""What a statement would lock, for how long, and which sessions block it: judged before it runs."""
