"""The nemesis: real server processes on real disks, under recorded clients, and faults that a seed chooses.

    faults     what may happen, and a plan of it from a seed
    case       what to run, and what came of it
    network    the servers' network: namespaces of the system's where this user may make some, else the loopback
    disk       disks that get full, lose their power, are slow, or are damaged
    clock      a server's wall clock, which jumps
    places     network and disks of a run, as far as this machine has them
    servers    the processes
    sockets    real time and real connections for the simulator's clients
    admin      the client that changes the members
    stage, processes, striking
               carry out a plan
    recording  the history of a run, of which the servers' part comes last
    judging    reads the servers' logs and has `testing.checkers` judge the recording
    timeline   recovery, outages and throughput, drawn from the recording
    run        one whole run
    keeping    a run whose data is kept, with its case, where something was wrong

What the simulator cannot know of is what this is for: processes that die between two instructions, the system's own
network and clocks, LMDB's files as a kill or a power cut leaves them.
"""
