"""Who a command is to a live server: `--auth`, alike wherever it is taken."""

from __future__ import annotations

import argparse


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Puts (scheme, credential) pairs into `auth`, as `client.connect` takes them."""
    parser.add_argument(
        "--auth",
        type=credential,
        action="append",
        default=[],
        metavar="SCHEME:CREDENTIAL",
        help="as the shell's addauth: digest:user:password",
    )


def credential(text: str) -> tuple[str, bytes]:
    """SCHEME:CREDENTIAL as given on the command line. Raises ArgumentTypeError."""
    scheme, colon, rest = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text!r} is not SCHEME:CREDENTIAL, as digest:user:password is")
    return scheme, rest.encode()
