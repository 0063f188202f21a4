"""Apache ZooKeeper's data directories: read into a tree with the exact state, and written so that it starts from them.

Belongs here: snapshots, transaction logs and epoch files as they lie on disk, and Apache's recovery. Does not: our own
directory (`exchange.landing` writes it) and the client protocol.

Read in this order: `layout`, `streams`, `snappy`; `tree`, `txns`; `snapshot_reader`, `log_reader`, `recovery`,
`conversion`; then `snapshot_writer`.
"""
