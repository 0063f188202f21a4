"""The doors: where clients' bytes come in and go out.

Belongs here: sockets, accepting, receiving, sending, closing, and the bounds on them. Does not: what bytes mean
(`replica`), and when to stop (`server`).

Read `client_port`, the reactor that serves all clients of one server, with `connection` and `listeners`; then
`certificates` (what TLS stands on) and `tls_channel` (one connection's TLS).
"""
