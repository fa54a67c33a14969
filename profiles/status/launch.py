"""Running the status IOC: by itself, or as a process of a session."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from profiles.child import KEY_VARIABLE, child_process

MODULE: Final = "profiles.status.launch"
START_S: Final = 30.0


def run_ioc(prefix: str, uri: str, api_key: str | None, interfaces: Sequence[str]) -> None:
    """Answer Channel Access until told to end.

    Parameters
    ----------
    prefix
        What the names of the PVs begin with.
    uri
        Address of the service.
    api_key
        Key that may write.
    interfaces
        Addresses of this machine to answer on.
    """
    from profiles.status.ioc import StatusIOC

    # It says of every image that its backlog is short, and every so often that nobody hears its beacons.
    for name in ("caproto", "profiles.status.pvs"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("caproto.ctx").addFilter(lambda record: "beacon" not in str(record.msg))

    async def run() -> None:
        await StatusIOC(prefix, uri, api_key).run(list(interfaces))

    asyncio.run(run())


@contextmanager
def status_ioc(prefix: str, uri: str, api_key: str | None, interface: str) -> Iterator[int]:
    """Run the status IOC as a process while the block runs; yields its number.

    Raises
    ------
    BeamlineError
        It does not start.
    """
    command = [MODULE, f"--prefix={prefix}", f"--uri={uri}", f"--interface={interface}"]
    # Not among the arguments, which everybody on the machine may read.
    environment = {KEY_VARIABLE: api_key} if api_key else {}
    with child_process(command, "the status IOC", START_S, environment) as pid:
        yield pid


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the IOC of a session; return its exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    for name in ("prefix", "uri", "interface"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    run_ioc(given.prefix, given.uri, os.environ.get(KEY_VARIABLE), [given.interface])
    return 0


if __name__ == "__main__":
    sys.exit(main())
