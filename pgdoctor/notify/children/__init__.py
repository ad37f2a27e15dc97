"""What runs in a process of its own: one module a process. Each says `ready`, reads one line and writes one."""
