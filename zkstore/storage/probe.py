"""A look at an LMDB file by a child process, because LMDB ends its process over a page that makes no sense.

LMDB trusts the pages it reads: what a disk has spoilt can meet an assertion or a wild pointer in it and end the
server without a word. Walking everything in advance would cost half a second per million znodes at each start, so the
store does it only where the start before did not come to an end; `verify` does it always.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from zkstore.errors import DamageError

# Complete in itself: the child imports nothing of zkstore. What is an ordinary error to LMDB is left to the caller.
_WALK: Final = """
import lmdb, sys
try:
    env = lmdb.open(sys.argv[1], readonly=True, lock=False, max_dbs=8)
    with env.begin() as view:
        for name in list(view.cursor().iternext(values=False)):
            for item in view.cursor(db=env.open_db(name, txn=view, create=False)):
                pass
except lmdb.Error:
    pass
"""


def refuse_fatal(path: Path) -> None:
    """Raise DamageError if walking the LMDB environment at `path` ends the process that does it."""
    if not (path / "data.mdb").exists() or not sys.executable:
        return
    child = subprocess.run([sys.executable, "-c", _WALK, str(path)], capture_output=True, text=True, check=False)
    if child.returncode < 0:
        reason = child.stderr.strip().splitlines()[:1] or [signal.Signals(-child.returncode).name]
        raise DamageError(f"LMDB cannot walk the file and gave up ({reason[0]})", where=path)
