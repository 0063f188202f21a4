"""Power cuts on real LMDB files: what a store writes is recorded, and every image that a cut may leave is started.

    interposing  stands between this process's libraries and the C library
    recorder     what is written and synced below a directory, in order; nothing escapes it
    events       the recording
    witness      marks in it: what the storage was asked for, and when it said that it was done
    disk         the model of a disk: what is safe, and what may be there or not
    choices      which of the unsafe is there
    oracle       what must be found, at each moment
    opening      starts the storage on an image
    asking       starts a real server on one, and asks it
    campaign     all cuts of one recording
    writer       makes what is written
    loads        what is done to a store: appends, checkpoints, purges, cuts, trees installed, full disks, starts
    damaged      a member that sets its damaged data aside and begins anew
    served       real servers: alone under clients, and a learner that is sent a tree and then segments
    run          all of that in processes of their own; what is wrong is kept, to be looked at again

Why functions of the C library are interposed, and strace or a preloaded library are not used: it needs neither a tracer
nor a compiler, so that it runs wherever the tests do; it works inside one process, where loads, marks and full disks
can be ordered to the instruction; and what it has seen is compared with the files at the end, byte for byte. What it
cannot see is memory shared for writing. LMDB's data files are not written so (no `writemap`); its lock file is, and
holds anything after a cut.

What must hold, for every image: the storage starts without help; every append that has returned is there, of one under
way some first part, segments whole; what was refused or cut off never comes back; promises and the ensemble's id are
there; an installed tree is there whole or not at all; snapshots that were taken are there and sound; and, where a
snapshot or the beginning of the log is the second way back, the same without the checkpoint.

What LMDB itself does not promise, and what zkstore makes of it:

- Opened with MDB_NOMETASYNC, as the log is, LMDB may lose its newest transaction in a cut: the page that makes it count
  is not synced. `storage.salvage` finds the segments in the file and puts them in their place; facts are synced before
  their call returns. Only the dropping of old history may be undone.
- A new file's first two pages are not synced by LMDB before it returns; zeros in their place are refused ever after. So
  a new environment gets its name only when all of it is on disk (`storage.env`).
- LMDB's meta pages have no checksum. It relies on 512 bytes being written whole or not at all, as disks promise; the
  112 bytes that it writes there lie within one sector. A disk that tears a sector may leave a meta page of nonsense:
  LMDB would refuse the file or read garbage, segments' CRCs and the tree's digest would show it, and the server would
  not start with it. That is detected, not survived, by a server alone; a member of an ensemble is brought in step anew.
- LMDB's other pages have no checksums either. A sync that has returned and lied, or bits that turn over later, are
  found by the CRC of each segment, the chain of segments, the digest of the tree and the checksums of snapshots; the
  checkpoint is then replaced from a snapshot and the log, and a damaged log is named and not used.
- A page that makes no sense may end the process. The next start looks at the files by a process of its own first
  (`storage.probe`). None of the images here does that.
- A file that is shorter than its last page would end the process, too: its length is compared before it is used.

What the model of the disk leaves out: writes after a failed sync (the storage then writes no more, and tests of the
storage fail its syncs), and a disk that acknowledges syncs and forgets them.
"""
