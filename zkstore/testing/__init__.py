"""What is shipped for tests: a deterministic simulator, and what tries real servers by the same rules.

world        simulated machines, networks and clocks with the production servers on them
plans        what happens there, from a seed
clients      who asks, as bytes, and records what they were told
checkers     what must hold
simulation   runs of many seeds
workers      the same in several processes
exploration  small configurations of agreement, all their states
museum       bugs of the past, each brought back to be found
nemesis      faults done to real server processes
"""
