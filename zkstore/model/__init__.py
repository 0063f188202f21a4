"""What the data is, without any of the outside world: no I/O, no clock, no randomness.

Belongs here: znodes and their Stat, paths, ACLs, txns and what they do to the tree, watches, sessions.
Does not: bytes of the protocol (`wire`), deciding whether a request may happen (`replica`), the disk (`storage`).

Read in this order: `stat`, `record`, `tree`, `txns`, `apply`; then `paths`, `acl`, `watches`, `sessions`.
"""
