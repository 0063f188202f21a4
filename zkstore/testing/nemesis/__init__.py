"""The nemesis: real server processes on real disks, under recorded clients, and faults that a seed chooses.

    faults    what may happen, and a plan of it from a seed
    network   the servers' network: namespaces of the system's where this user may make some, else the loopback
    servers   the processes
    sockets   real time and real connections for the simulator's clients
    striking  carries out a plan
    judging   reads the servers' logs at the end and has `testing.checkers` judge the recording
    run       one whole run

What the simulator cannot know of is what this is for: processes that die between two instructions, the system's own
network and clocks, LMDB's files as a kill leaves them.
"""
