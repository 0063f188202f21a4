"""`python -m zkstore`: the same as the command `zkstore`."""

import sys

from zkstore.cli.main import main

sys.exit(main())
