"""Shows what is in a data directory, a snapshot or a backup; nothing is written. The same as `zkstore inspect`.

python tools/inspect.py data
python tools/inspect.py data tree /app --depth 2 --at "2h ago"
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from zkstore.cli.inspect import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
