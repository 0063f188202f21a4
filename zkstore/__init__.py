"""zkstore: a durable coordination server that speaks the Apache ZooKeeper client protocol.

The rooms, from the ground up; each imports only rooms below it:

    errors, limits    every exception; every bound with its reason
    model/            what the data is: znodes, Stat, txns, sessions, watches      (pure)
    wire/             bytes to records and back                                    (pure)
    replica/          the replicated state machine and one client's conversation   (pure)
    storage/          the disk: log, checkpoint, snapshots, recovery
    net/              the client port
    server/           the running service: configuration, start and stop, pipeline
    admin/, client/   four-letter words; the trio client
    cli/              the command line, one file per subcommand
"""

from zkstore.version import VERSION

__all__ = ["VERSION"]
