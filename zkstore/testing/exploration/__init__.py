"""All courses that a small ensemble can take: the real `zab.peer.Peer`, and around it the smallest world there is.

scenarios   where an exploration begins, and how much may happen in it
explorer    breadth first through all states, each once; or one course at random
world       a state of everything, and what follows from one thing that happens
states      the states of single servers as numbers, so that each step is computed once
server      one server: a peer, a disk, a state machine that only counts
disk        what is on its disk
observer    the invariants, and the published properties that they stand for
"""
