"""`zkstore serve` whose LMDB files are mapped small, so that a little load has to make the maps grow.

python -m zkstore.testing.sweeping.small_map serve --data-dir data
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Final

from zkstore.cli.main import main
from zkstore.storage.store import Store

MAP_BYTES: Final = 128 << 10

if __name__ == "__main__":
    Store.open = partial(Store.open, map_bytes=MAP_BYTES)  # type: ignore[method-assign]
    sys.exit(main())
