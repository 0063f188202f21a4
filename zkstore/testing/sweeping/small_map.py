"""`zkstore serve` whose LMDB files are mapped small, so that a little load has to make the maps grow.

python -m zkstore.testing.sweeping.small_map serve --data-dir data
"""

from __future__ import annotations

import runpy
from functools import partial
from typing import Final

from zkstore.storage.store import Store

MAP_BYTES: Final = 64 << 10

if __name__ == "__main__":
    setattr(Store, "open", partial(Store.open, map_bytes=MAP_BYTES))  # noqa: B010
    runpy.run_module("zkstore", run_name="__main__", alter_sys=True)
