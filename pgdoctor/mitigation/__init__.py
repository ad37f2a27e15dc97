"""Which blocker may be signalled, and why not. Pure, but for `execute`, which carries a plan out."""
