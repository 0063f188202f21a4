"""The replicated state machine and the clients' side of it; pure: facts go in, decisions come out.

Facts: bytes of a client or of another server, the time, "this segment is on disk". Decisions: the next segment to
append, bytes for clients and servers, connections to end. Nothing here knows a socket, a clock, a disk or chance.

Read in this order: `outstanding` (the tree as it will be), `prepare` (request to txn, may fail), `proposing` (txns to
proposals), `replica` (what every server has, and what awaits its commit), `commit` (txn to tree, watch events,
answers); `role` with `leading` and `learning` (what differs); `sessions`, `reconfig`, `reaping`, `throttle`; `reads`
with `listings`, `greeting`, `identification` with `sasl` (who a client is), and `conversation` (one client's bytes in
and out); last `member`, which puts a replica and its part in agreement (`zab`) together.
"""
