"""The doors: where clients' bytes come in and go out.

Belongs here: sockets, accepting, receiving, sending, closing, and the bounds on them. Does not: what bytes mean
(`replica`), and when to stop (`server`).

Read `client_port`, the reactor that serves all clients of one server, with `connection` and `listeners`; then
`certificates` (what TLS stands on) and `tls_channel` (one connection's TLS). For the servers of an ensemble among
themselves read `peer_links` with `peer_events`, then one connection from below: `peer_frames`, `peer_outbox`,
`peer_tls`, `peer_connection`; who comes in (`peer_port`, `peer_greeting`), who is dialled (`peer_dials`,
`peer_gossip`), and how a learner gets a whole tree (`snapshot_pump`).
"""
