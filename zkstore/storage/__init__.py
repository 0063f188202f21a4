"""The disk: what a server has promised to remember, and how it gets it back. Plain blocking calls on LMDB.

Belongs here: the data directory, the log, the checkpoint, snapshots, recovery, verification and the history's
budget. Does not: threads, trio and clocks (whoever calls decides where and when), or any meaning of a txn
(`model.apply` knows it). No other room imports lmdb.

A *write batch* and a *read view* are LMDB's transactions; a txn is always ZooKeeper's.

Read in this order: `directory`, `lock`, `env`; `salvage`, `generation`, `log`; `image`, `checkpoint`, `snapshots`;
`recovery`, `retention`; then `store`, which ties them together, `probe` and `verify`.
"""
