"""The shell at a terminal: a prompt with history, and completion of commands and paths.

prompt_toolkit waits for keys in a thread of its own, so that events are printed above the prompt meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import trio
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.patch_stdout import patch_stdout

from zkstore.cli.shell.commands import COMMANDS
from zkstore.cli.shell.shell import Shell
from zkstore.cli.shell.text import state_name
from zkstore.cli.shell.znodes import join
from zkstore.errors import ZkStoreError

COMPLETION_S_MAX = 1.0
"""How long a Tab may wait for the server."""


async def read_lines(shell: Shell) -> AsyncIterator[str]:
    """The lines that somebody types, until Ctrl-D; Ctrl-C only drops the line."""
    session: PromptSession[str] = PromptSession(
        history=_history(), completer=_Completer(shell), complete_while_typing=False
    )
    print("Welcome to ZooKeeper! `help` lists the commands, Tab completes, Ctrl-D ends.", flush=True)
    while True:
        prompt = f"[zk: {shell.servers}({state_name(shell.state)}) {len(shell.history)}] "
        try:
            with patch_stdout(raw=True):  # events that come now are printed above the prompt
                line = await trio.to_thread.run_sync(session.prompt, prompt, abandon_on_cancel=True)
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        yield line


def _history() -> History:
    """Lines of earlier runs, in the user's state directory; only this run's where that cannot be written."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "zkstore"
    try:
        state.mkdir(parents=True, exist_ok=True)
        path = state / "shell_history"
        path.touch(mode=0o600)  # commands may hold secrets, such as addauth's
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)


class _Completer(Completer):
    """Commands for the first word; then paths by their parent's children, and the command's options."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Called in the prompt's thread."""
        before, _, word = document.text_before_cursor.rpartition(" ")
        for candidate in self._candidates(before.split(), word):
            if candidate.startswith(word):
                yield Completion(candidate, start_position=-len(word))

    def _candidates(self, before: list[str], word: str) -> list[str]:
        if not before:
            return sorted(COMMANDS)
        command = COMMANDS.get(before[0])
        if word.startswith("-") and command is not None:
            return sorted((*command.flags, *command.valued))
        if not word.startswith("/"):
            return []
        parent = word.rpartition("/")[0] or "/"
        return [join(parent, name) for name in trio.from_thread.run(self._children, parent)]

    async def _children(self, path: str) -> list[str]:
        with trio.move_on_after(COMPLETION_S_MAX):
            try:
                return await self._shell.client.children(path)
            except ZkStoreError:
                return []  # nothing there, nothing to complete
        return []
