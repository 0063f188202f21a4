"""`verify`: everything checked, without a lock, so beside a server, too, and on a disk that cannot be written."""

from __future__ import annotations

import argparse

from zkstore.cli.inspect.screen import Screen
from zkstore.inspection.checking import check
from zkstore.inspection.source import Source


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """Nothing of its own."""


def run(name: str, source: Source, options: argparse.Namespace, screen: Screen) -> int:
    """What was looked at, and each finding; 1 if there is one."""
    found = check(source, screen.progress("segments and znodes checked"))
    source.damage.clear()  # it is among the findings
    if screen.is_json:
        screen.value(found._asdict())
        return 1 if found.findings else 0
    walked = (
        f"{found.segments:,} segments with {found.txns:,} txns, {found.images} checkpoints and snapshots with"
        f" {found.znodes:,} znodes, {found.files} LMDB files"
    )
    if not found.findings:
        screen.line(f"{screen.colour('all is well', 'green')}: {walked}")
        return 0
    screen.line(f"{screen.colour('damage was found', 'red')}. Read were {walked}")
    for number, finding in enumerate(found.findings, 1):
        screen.line(f"{number}. {finding}")
    return 1
