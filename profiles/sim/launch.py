"""Start the simulated beamline as a process of its own, and stop it without leaving anything behind."""

from __future__ import annotations

import atexit
import os
import socket
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiles.child import child_process
from profiles.config import BeamlineConfig, load_config
from profiles.sim.options import LOOPBACK, SECOND_LOOPBACK, SimulationOptions
from tomoservice.errors import BeamlineError

CONFIG_FILE = Path(__file__).parent / "sim.yml"


@dataclass(frozen=True)
class RunningIOC:
    """A simulated beamline that answers.

    Parameters
    ----------
    options
        What it simulates.
    pid
        Its process.
    """

    options: SimulationOptions
    pid: int

    def config(self, data_directory: Path) -> BeamlineConfig:
        """Return the configuration of this beamline, recording below `data_directory`."""
        return load_config(CONFIG_FILE, prefix=self.options.prefix, data_directory=data_directory)


def channel_access_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that keep Channel Access on loopback, on ports that the system chose.

    Ports that the environment names already are kept: a process reads them once, when ophyd connects for
    the first time, and every IOC that it talks to later must be found there.
    """
    with ExitStack() as open_sockets:
        server = environment.get("EPICS_CA_SERVER_PORT") or _free_port(open_sockets)
        repeater = environment.get("EPICS_CA_REPEATER_PORT") or _free_port(open_sockets)
    return {
        "EPICS_CA_ADDR_LIST": f"{LOOPBACK} {SECOND_LOOPBACK}",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": server,
        "EPICS_CA_REPEATER_PORT": repeater,
        "EPICS_CAS_INTF_ADDR_LIST": LOOPBACK,
        "EPICS_CAS_BEACON_ADDR_LIST": LOOPBACK,
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_CAS_BEACON_PORT": repeater,
    }


def use_loopback(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set this process's Channel Access variables; must come before the first device is made.

    Raises
    ------
    BeamlineError
        Channel Access runs already with other addresses, which it will not read again.
    """
    wanted = channel_access_environment(environment)
    running = "epics.ca" in sys.modules and sys.modules["epics.ca"].libca is not None
    if running and any(environment.get(name) != value for name, value in wanted.items()):
        message = (
            "Channel Access was used before its addresses were set to loopback: "
            "call profiles.sim.launch.use_loopback() before anything imports ophyd"
        )
        raise BeamlineError(message)
    environment.update(wanted)


@contextmanager
def simulated_beamline(options: SimulationOptions, *, timeout_s: float = 30.0) -> Iterator[RunningIOC]:
    """Run the simulated beamline's IOC while the block runs.

    Sets this process's Channel Access variables, so it must be entered before ophyd is imported. IOCs may
    follow each other in one process; give each its own prefix, and never two at once.

    Parameters
    ----------
    options
        What to simulate.
    timeout_s
        How long the IOC may take until it answers.

    Yields
    ------
    RunningIOC

    Raises
    ------
    BeamlineError
        It does not start.
    """
    use_loopback()
    command = ["profiles.sim.ioc", *options.to_arguments()]
    with child_process(command, "the simulated beamline", timeout_s) as pid:
        yield RunningIOC(options, pid)


def start_simulated_beamline(**options: Any) -> RunningIOC:
    """Run the simulated beamline until this process ends; for sessions typed by hand.

    Parameters
    ----------
    **options
        Fields of `SimulationOptions`.

    Raises
    ------
    BeamlineError
        It does not start, or ophyd has been used before.
    """
    stack = ExitStack()
    running = stack.enter_context(simulated_beamline(SimulationOptions(**options)))
    atexit.register(stack.close)
    return running


def _free_port(open_sockets: ExitStack) -> str:
    """Return a port free for UDP and TCP; it stays taken until the stack closes, so none comes twice."""
    while True:
        datagram = open_sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        datagram.bind((LOOPBACK, 0))
        port = datagram.getsockname()[1]
        stream = open_sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        try:
            stream.bind((LOOPBACK, port))
        except OSError:
            continue
        return str(port)
