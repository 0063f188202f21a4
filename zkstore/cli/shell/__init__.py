"""`zkstore shell`: znodes at the command line, with the commands, options and output of zkCli.sh.

Belongs here: what is typed and what is printed. Does not: how a server is talked to, which is `zkstore.client`.

Read in this order: `program`, the ways to use it; `shell`, its state; `syntax` and `text`, in and out; `commands`,
and the commands themselves by what they are about: `znodes`, `access`, `watches`, `quotas`; `prompt` for a terminal.
"""

from zkstore.cli.shell.program import main

__all__ = ["main"]
