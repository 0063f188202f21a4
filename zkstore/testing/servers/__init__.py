"""Servers for tests: real ones, in the test's own process, that can be crashed, cut off and started again at will.

    with Server() as server:                    # or the pytest fixture `zk_server`
        client = KazooClient(server.address)    # any client: kazoo, zkstore.client, the C library ...
        server.crash(); server.restart()        # as kill -9, and what is found afterwards
        server.expire(client.client_id[0])      # a session's end, without waiting for its timeout

    with Ensemble(3) as ensemble:               # `zk_ensemble`
        ensemble.leader().crash()
        ensemble.partition([1], [2, 3])

Each runs in a thread of its own; every method may be called from any other thread, and returns when it is done. From
trio call those that take a while by `trio.to_thread.run_sync`. What servers log goes to the loggers below "zkstore".
"""

from zkstore.testing.servers.ensemble import Ensemble
from zkstore.testing.servers.server import Server, ServerFailedError

__all__ = ["Ensemble", "Server", "ServerFailedError"]
