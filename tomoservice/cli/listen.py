"""`tomoservice listen`: reconstruct what ends at a beamline whose RunEngine knows nothing of this service."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tomoservice.cli.options import ServiceAddress, service_options

if TYPE_CHECKING:
    from callbacks.arrival import DocumentSource


class Transport(StrEnum):
    """Where documents come from."""

    TILED = "tiled"
    ZMQ = "zmq"
    NATS = "nats"


ADDRESSES = {Transport.ZMQ: "127.0.0.1:5568", Transport.NATS: "nats://127.0.0.1:4222"}


@click.command()
@click.option(
    "--from",
    "transport",
    type=click.Choice([one.value for one in Transport]),
    default=Transport.TILED.value,
    show_default=True,
    help="Where documents come from: runs that end in Tiled itself, a 0MQ proxy, or NATS JetStream.",
)
@click.option(
    "--address",
    help=f"Where the proxy hands documents out, or the NATS server.  [default: {ADDRESSES[Transport.ZMQ]}, "
    f"{ADDRESSES[Transport.NATS]}]",
)
@click.option("--prefix", default="", help="0MQ: only documents with this prefix.")
@click.option(
    "--client-key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="0MQ: this listener's own key (NAME.key_secret), if the proxy encrypts; its public half (NAME.key) "
    "is to be where the proxy looks.",
)
@click.option(
    "--server-key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="0MQ: the proxy's public key (NAME.key).",
)
@click.option(
    "--subject",
    default="bluesky",
    show_default=True,
    help="NATS: what the subjects of documents begin with; their kind follows (`bluesky.start`).",
)
@click.option(
    "--consumer",
    help="NATS: name under which the server remembers what this listener has had; who takes over a name "
    "goes on there.  [default: one for this machine and spool]",
)
@click.option(
    "--rules",
    "rules_file",
    type=click.Path(path_type=Path),
    help="File of rules: which runs, by which recipe; what is changed in it holds for the next run.  "
    "[default: every tomography run]",
)
@click.option(
    "--recipe",
    metavar="FILE|NAME",
    default="default",
    show_default=True,
    help="Recipe file, or name of one that the package ships, where neither rule nor plan names one.",
)
@click.option(
    "--spool",
    type=click.Path(path_type=Path, file_okay=False),
    default="tomoservice-spool",
    show_default=True,
    help="Folder for what has not been delivered, and for how far this listener is.",
)
@click.option("--publish", is_flag=True, help="0MQ, NATS: write the runs to Tiled, too; nobody else may.")
@service_options
def command(
    service: ServiceAddress,
    transport: str,
    address: str | None,
    prefix: str,
    client_key: Path | None,
    server_key: Path | None,
    subject: str,
    consumer: str | None,
    rules_file: Path | None,
    recipe: str,
    spool: Path,
    *,
    publish: bool,
) -> None:
    """Ask for a reconstruction whenever a scan ends somewhere, until Ctrl-C.

    Whatever stops answering is waited for. However many listen, of a run and a recipe there is one
    reconstruction.
    """
    from callbacks.listener import Listener
    from callbacks.rule_file import RuleFile

    kind = Transport(transport)
    if (client_key or server_key) and kind is not Transport.ZMQ:
        raise click.UsageError("--client-key and --server-key are for --from zmq")
    if publish and kind is Transport.TILED:
        raise click.UsageError("--publish writes to Tiled what does not come from there: --from zmq or nats")
    rules = None if rules_file is None else RuleFile(rules_file)
    where = address or ADDRESSES.get(kind, service.uri)
    source: DocumentSource
    match kind:
        case Transport.TILED:
            from callbacks.from_tiled import TiledSource

            source = TiledSource(where, service.api_key, folder=spool)
        case Transport.ZMQ:
            source = _zmq_source(where, prefix, client_key, server_key)
        case Transport.NATS:
            from callbacks.nats import NatsSource, consumer_of

            source = NatsSource(where, subject=subject, consumer=consumer or consumer_of(spool))
    listener = Listener(
        service.uri, service.api_key, spool=spool, rules=rules, recipe=recipe, publish=publish
    )
    # Where rules have changed is told without being asked for.
    logging.getLogger("callbacks.rule_file").setLevel(logging.INFO)
    watching = nullcontext() if rules is None else rules.watched()
    with listener, watching, _ended_by_signals(source):
        click.echo(f"listening to {kind.value} at {where} for {service.uri}; requests wait in {spool}")
        listener.listen(source)


def _zmq_source(
    address: str, prefix: str, client_key: Path | None, server_key: Path | None
) -> DocumentSource:
    """Return what brings documents from a proxy, encrypted if there are keys."""
    from callbacks.curve import client_curve
    from callbacks.zmq import ZmqSource

    curve = None
    if client_key is not None and server_key is not None:
        curve = client_curve(client_key, server_key)
    elif client_key is not None or server_key is not None:
        raise click.UsageError("an encrypted connection wants both --client-key and --server-key")
    return ZmqSource(address, prefix=prefix.encode(), curve=curve)


@contextmanager
def _ended_by_signals(source: DocumentSource) -> Iterator[None]:
    """Stop the source when somebody presses Ctrl-C or ends the process."""
    before = {
        number: signal.signal(number, lambda *_: source.stop()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
