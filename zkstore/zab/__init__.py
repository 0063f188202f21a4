"""Agreement: how the servers of an ensemble come to tell one history (Zab, at the grain of segments).

Pure: events go in (a message, a link, a tick with its time, "that is on disk now"), effects come out (`effects`).
Whoever runs it owns the clock, the network and the disk: the server, or the simulator.

Safety rests on what is on disk before anything is answered: the epoch promised, the epoch adopted, and the log. The
election is a hint that makes it quick.
"""
