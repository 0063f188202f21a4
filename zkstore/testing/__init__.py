"""What is shipped for tests: the deterministic simulator, its clients and workloads, and the checkers of what they saw.

Everything here is deterministic: randomness comes from a `random.Random` that is handed in, time from the world.
"""
