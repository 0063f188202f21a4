"""`zkstore shell`: its arguments, and the three ways to use it: one command, lines from a pipe, at a terminal."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import AsyncIterator

import trio

from zkstore.cli.shell.commands import COMMANDS, execute
from zkstore.cli.shell.encryption import add_arguments, from_arguments, make_context
from zkstore.cli.shell.shell import Settings, Shell
from zkstore.cli.shell.syntax import split
from zkstore.errors import AuthFailedError, ClientError, ConfigError, ConnectionLossError

INTERRUPTED = 130
"""The status of a command that Ctrl-C ended, by the custom of shells."""

_EXAMPLES = """\
examples:
  zkstore shell -server 127.0.0.1:2181 ls /
  zkstore shell -server zk1:2181,zk2:2181/app get -s /config
  zkstore shell --json stat / | jq .numChildren
  echo 'create /a hello' | zkstore shell
  zkstore shell --ca ca.pem --cert me.pem -server zk1:2281 whoami
  zkstore shell                             (interactive; Tab completes, `help` lists the commands)
"""


def main(arguments: list[str]) -> int:
    """Run the shell; 0 fine, 1 the command failed, 2 usage."""
    options = _parser().parse_args(arguments)
    try:
        tls = make_context(from_arguments(options))
    except ConfigError as error:
        print(f"zkstore shell: {error}", file=sys.stderr)
        return 2
    settings = Settings(
        servers=options.server,
        timeout_ms=options.timeout,
        read_only=options.read_only,
        wait=options.wait,
        as_json=options.as_json,
        tls=tls,
    )
    status = 1
    try:
        status = trio.run(_run, settings, options.command)
    except* KeyboardInterrupt:
        status = INTERRUPTED
    except* BrokenPipeError:
        # Whoever read our output has gone; what is left of it goes nowhere, or Python would complain when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zkstore shell",
        usage="zkstore shell [options] [COMMAND ARGUMENTS...]",
        description="A shell for ZooKeeper's znodes: the commands, options and output of zkCli.sh, and some more.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "-server",
        "--server",
        metavar="HOST:PORT[,...][/chroot]",
        default="localhost:2181",
        help="servers to try, and the znode to take as root (default: %(default)s)",
    )
    parser.add_argument(
        "-timeout",
        "--timeout",
        metavar="MS",
        type=_positive,
        default=30_000,
        help="session timeout, and how long to try to connect (default: %(default)s)",
    )
    parser.add_argument("-r", "--read-only", dest="read_only", action="store_true", help="take a server without quorum")
    parser.add_argument(
        "-waitforconnection",
        "--wait",
        dest="wait",
        action="store_true",
        help="keep trying to connect for as long as it takes",
    )
    parser.add_argument(
        "--json", dest="as_json", action="store_true", help="one line of JSON for each answer and event"
    )
    add_arguments(parser)
    parser.add_argument(
        "command",
        metavar="COMMAND ARGUMENTS",
        nargs=argparse.REMAINDER,
        help="a command to run and exit; none reads commands from the input",
    )
    return parser


def _positive(word: str) -> int:
    number = int(word)
    if number <= 0:
        raise ValueError(word)
    return number


async def _run(settings: Settings, command: list[str]) -> int:
    if command and command[0] not in COMMANDS:
        print(f"zkstore shell: Command not found {command[0]}; try: zkstore shell help", file=sys.stderr)
        return 2
    at_terminal = not command and sys.stdin.isatty()
    async with trio.open_nursery() as nursery:
        shell = Shell(settings, nursery, prints_states=not command)
        try:
            status = await _converse(shell, command, at_terminal)
        finally:
            with trio.CancelScope(shield=True):
                await shell.close()
        shell.print_waiting_events()
        nursery.cancel_scope.cancel()
    return status


async def _converse(shell: Shell, command: list[str], at_terminal: bool) -> int:
    if command:
        if not COMMANDS[command[0]].needs_connection:
            return await execute(shell, command)
        return await _open(shell) or await _interruptible(shell, command)
    if at_terminal:
        from zkstore.cli.shell.prompt import read_lines  # prompt_toolkit: only people at a terminal wait for it

        print(f"Connecting to {shell.servers}", flush=True)
        await _open(shell)  # without a server `connect` can still be tried
        await _loop(shell, read_lines(shell))
        return 0  # whoever sat there has seen what failed
    return await _open(shell) or await _loop(shell, _piped_lines())


async def _open(shell: Shell) -> int:
    try:
        await shell.open(shell.servers)
    except ConfigError as error:
        print(f"zkstore shell: {error}", file=sys.stderr)
        return 2
    except (ConnectionLossError, AuthFailedError, ClientError) as error:
        print(f"zkstore shell: {error}", file=sys.stderr)
        return 1
    return 0


async def _piped_lines() -> AsyncIterator[str]:
    while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        yield line


async def _loop(shell: Shell, lines: AsyncIterator[str]) -> int:
    """Carry out line after line; the status is 0 only if every command succeeded."""
    status = 0
    async for line in lines:
        words = split(line)
        if not words:
            continue
        shell.history.append(line.strip())
        status = max(status, await _interruptible(shell, words))
        if shell.quitting:
            break
    return min(status, 1)


async def _interruptible(shell: Shell, words: list[str]) -> int:
    """Carry out one command; Ctrl-C ends it and nothing else. It is how a `watch` is meant to end."""
    status = 0 if words[0] == "watch" else INTERRUPTED
    with trio.open_signal_receiver(signal.SIGINT) as interrupts, trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def cancel_on_interrupt() -> None:
                async for _ in interrupts:
                    scope.cancel()

            nursery.start_soon(cancel_on_interrupt)
            status = await execute(shell, words)
            nursery.cancel_scope.cancel()
    return status
