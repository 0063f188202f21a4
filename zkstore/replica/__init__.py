"""The replicated state machine and the clients' side of it; pure: facts go in, decisions come out.

Facts: bytes of a client, the time, "this segment is on disk". Decisions: the next segment to append, bytes for
clients, connections to end. Nothing here knows a socket, a clock, a disk or chance; the server hands them in.

Read in this order: `outstanding` (the tree as it will be), `prepare` (request to txn, may fail), `replica` (proposals
and segments), `commit` (txn to tree, watch events, answers); `sessions`, `reaping`, `throttle`; `reads` with
`listings`, `identification` with `sasl` (who a client is), and `conversation` (one client's bytes in and out).
"""
