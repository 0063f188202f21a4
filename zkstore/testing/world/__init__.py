"""The simulated world: clocks, disks, networks and machines, the servers on them, and one case's run from start to end.

Everything here is deterministic: time is the agenda's, chance a `random.Random` that is handed in.
"""
