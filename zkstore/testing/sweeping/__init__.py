"""The sweep: a real server, or three of them, meets every failpoint in turn, under recorded clients, and is judged.

servers    processes that are armed when they start
small_map  `zkstore serve` with maps of LMDB so small that they have to grow
spoiling   what is done to the files of a server that does not run
loads      what servers and clients go through, so that each failpoint is reached
play       one failpoint with one action: load, strike, start without help, verdict
"""
