"""The server, as commands are told of it."""

import argparse
from typing import Any

from .connection import Tls


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its address, and what it wants to see."""
    parser.add_argument("--url", default="localhost:8001", help="gRPC endpoint (default: %(default)s)")
    parser.add_argument(
        "--header", type=_header, action="append", default=[], metavar="NAME=VALUE", help="sent along with every call"
    )
    parser.add_argument("--tls", action="store_true", help="encrypted; implied by the following")
    for name, whose in TLS_FILES.items():
        parser.add_argument(f"--tls-{name.replace('_', '-')}", metavar="FILE.pem", help=whose)


TLS_FILES = {
    "root_certificates": "whom to trust (default: whom gRPC trusts)",
    "private_key": "the client's own, for a server that wants to know who asks",
    "certificate_chain": "likewise",
}


def connection(arguments: argparse.Namespace) -> dict[str, Any]:
    """What AlpamayoClient and AsyncAlpamayoClient take."""
    files = {name: getattr(arguments, f"tls_{name}") for name in TLS_FILES}
    tls = Tls(**files) if arguments.tls or any(files.values()) else None
    return {"url": arguments.url, "tls": tls, "headers": dict(arguments.header)}


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError("wanted NAME=VALUE")
    return name, value
