"""What aiozk can do, as `node_client.js`: each step prints a line of JSON, the last one when a line comes in on stdin.

A program of its own, because aiozk leaves sockets to the garbage collector, and a test run takes that for a failure.
"""

from __future__ import annotations

import asyncio
import json
import sys

import aiozk

PATIENCE_S = 30.0


def tell(step: str, value: object) -> None:
    """One line."""
    sys.stdout.write(json.dumps([step, value]) + "\n")
    sys.stdout.flush()


async def main(hosts: str, root: str) -> None:
    client = aiozk.ZKClient(hosts, session_timeout=4)
    await client.start()
    tell("created", await client.create(root, b"one"))
    changed = asyncio.ensure_future(client.wait_for_events([aiozk.WatchEvent.DATA_CHANGED], root))
    data, stat = await client.get(root, watch=True)
    tell("data", [data.decode(), stat.version])
    await client.set(root, b"two", version=0)
    await changed
    tell("event", ["NODE_DATA_CHANGED", root])
    ephemeral = await client.create(f"{root}/e-", b"", ephemeral=True, sequential=True)
    tell("ephemeral", ephemeral)
    transaction = client.begin_transaction()
    transaction.check_version(root, 1)
    transaction.create(f"{root}/a", b"")
    transaction.set_data(root, b"three", 1)
    await transaction.commit()
    tell("children", sorted(await client.get_children(root)))
    try:
        await client.delete(root)
    except aiozk.exc.NotEmpty:
        tell("refused", "NOT_EMPTY")
    tell("ready", client.session.session_id)
    await asyncio.to_thread(sys.stdin.readline)
    # By itself it would notice that its connection is gone when two heartbeats have failed, seconds later.
    client.session.state.transition_to(aiozk.states.States.SUSPENDED)
    tell("still there", [client.session.session_id, await client.exists(ephemeral)])
    await client.close()


asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), PATIENCE_S))
