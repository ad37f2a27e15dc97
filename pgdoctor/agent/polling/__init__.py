"""How the agent asks its servers: polls, their cost, reconnecting, what is recorded."""
