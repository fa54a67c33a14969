"""The command line: one command per file, each loaded when it is called."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from typing import Any

import click

from tomoservice import __version__
from tomoservice.errors import TomoserviceError

COMMANDS = {
    "batch": "Reconstruct many runs by one recipe or several, and steer that as one.",
    "bench": "Measure the service on this machine.",
    "cancel": "Stop reconstructions; what is computed is kept.",
    "catalog": "Make the nodes of reconstructions again from what lies on disk.",
    "conductor": "Work through queued reconstructions of a running service.",
    "demo": "Simulated beamline, service, scan and reconstruction in one go.",
    "doctor": "Check storage, database, devices and clocks, and say what to do.",
    "export": "Write a volume for other programs: TIFF, HDF5, OME-Zarr.",
    "find-axis": "Find the rotation axis of a scan.",
    "gallery": "Show what every stage does: one page with pictures, each stage off and on.",
    "gc": "Remove from disk what belongs to no reconstruction any more.",
    "info": "Say what a scan file contains, and what is wrong with it.",
    "ingest": "Publish scan files as runs, so that all else works on them.",
    "ioc": "Show the service in EPICS: status and control PVs.",
    "jobs": "List the reconstructions of a service, and how far they are.",
    "live": "Reconstruct scans while they go on, for a service that runs elsewhere.",
    "listen": "Reconstruct what ends at a beamline: by watching Tiled, or from 0MQ or NATS.",
    "pause": "Leave reconstructions alone for the time being; what is computed is kept.",
    "recipe": "Show, check and describe recipe files.",
    "recipes": "Save recipes in a service, find them, and get one proposed for a scan.",
    "reconstruct": "Reconstruct a scan straight from file to file.",
    "rerun": "Do reconstructions again, and say whether they come out the same.",
    "resume": "Go on with paused reconstructions.",
    "retry": "Queue failed, cancelled or virtual reconstructions.",
    "rules": "Check which runs are reconstructed when they end, by which recipe.",
    "serve": "Start the service: Tiled and a worker, one port, data in a folder.",
    "session": "An IPython session with devices, plans, RunEngine and client.",
    "settings": "Show what is set and where that was set, or the schema of the settings.",
    "stop": "End reconstructions, and keep what there is of their volumes readable.",
    "submit": "Queue reconstructions of runs.",
}
"""Every command with its one-line help, so that listing them imports none."""

USAGE_ERROR = 2
FAILED = 1
INTERRUPTED = 130


class _Commands(click.Group):
    """A group that imports a command's module when the command is called."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"tomoservice.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tomoservice")
@click.option("-v", "--verbose", count=True, help="Say more: -v what is done, -vv everything.")
def tomoservice(verbose: int) -> None:
    """Tomography reconstruction: from a scan to a volume that any Tiled client can read."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong arguments, 130 interrupted."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status; errors are one line on standard error."""
    try:
        status: Any = tomoservice.main(arguments, prog_name="tomoservice", standalone_mode=False)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "tomoservice"
        message = " ".join(error.format_message().split())
        click.echo(f"{where}: {message} (see {where} --help)", err=True)
        return USAGE_ERROR
    except click.ClickException as error:
        click.echo(f"tomoservice: {error.format_message()}", err=True)
        return FAILED
    except TomoserviceError as error:
        click.echo(f"tomoservice: {error}", err=True)
        return FAILED
    except (click.Abort, KeyboardInterrupt):
        click.echo("tomoservice: interrupted, nothing half-written is left", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe went away (`| head`): nothing more to say, and nothing to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except MemoryError as error:
        reason = " ".join(str(error).split()) or "the system gave no more"
        click.echo(
            f"tomoservice: not enough memory ({reason}); a smaller --memory, where the command has it, makes "
            "smaller pieces",
            err=True,
        )
        return FAILED
    except OSError as error:
        # What the system refuses is no bug of ours: a folder that may not be written, say.
        click.echo(f"tomoservice: {error}", err=True)
        return FAILED
    return status if isinstance(status, int) else 0
