"""`zkstore inspect`: what is in a data directory, a snapshot or a backup, without a server and without a change to it.

Belongs here: what is typed and what is printed. Does not: how it is read, which is `zkstore.inspection`.

Read in this order: `program`, which finds the command; `screen`, how things look; then the commands.
"""

from zkstore.cli.inspect.program import main

__all__ = ["main"]
