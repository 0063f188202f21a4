"""Bytes to records and back; pure.

Belongs here: jute and the records of the client protocol, msgpack for txns and segments. Does not: sockets,
and any decision about what a record means.

Read in this order: `jute`, `records`; then `segment`, the unit of log, replication and catch-up.
"""
