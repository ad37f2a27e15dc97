"""The agent: one poll a second, and what it found for machines and people. Its shell decides nothing."""
