"""A session at a beamline: everything that is typed there, ready under its name.

A session begins whatever is missing: without a service scans run all the same, and are published when it is
back; without a beamline there is still the service. What is missing is said in one line each, and is tried
again whenever it is used.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from profiles import shell
from profiles.background import enter_in_background
from profiles.child import KEY_VARIABLE, child_process
from profiles.on_demand import OnDemand
from profiles.scan_numbers import ScanNumbers
from profiles.session_options import DEFAULT_URI, SessionOptions, session_options
from profiles.session_plans import bound_plan, find_plan
from profiles.sim.options import LOOPBACK, SECOND_LOOPBACK
from tomoservice.errors import BeamlineError, ServiceUnavailableError, TomoserviceError

if TYPE_CHECKING:
    from bluesky import RunEngine

    from callbacks import ReconstructionTrigger, RunPublisher
    from profiles.beamline import Beamline
    from profiles.config import BeamlineConfig
    from profiles.sim.launch import RunningIOC
    from profiles.status.device import TomoStatus
    from tomoservice.client import Tomo

logger = logging.getLogger(__name__)

DEVICES: Final = ("rotation", "sample", "shutter", "camera")
SIM_PREFIX: Final = "TOMO:"
WINDOW_S: Final = 60.0
"""How long the window may take until it is there."""
ROUND_S: Final = 2.0
"""How long the end of a session may take to deliver what is left; the rest stays on disk."""


def begin(**profile: Any) -> Session:
    """Begin a session and say what it has; a profile calls this, once.

    Parameters
    ----------
    **profile
        Fields of `SessionOptions`; the environment (``TOMOSERVICE_SESSION_...``) goes before them.

    Raises
    ------
    SettingsError
        An option is unknown or wrong.
    """
    began = time.monotonic()
    with shell.one_line_errors():
        session = Session(session_options(**profile))
        atexit.register(session.end)
        session.start()
    session.RE.subscribe(RunTeller(session.page))
    for line in (*session.summary(), f"ready in {time.monotonic() - began:.1f} s"):
        sys.stdout.write(f"{line}\n")
    return session


def _no_status() -> Any:
    raise BeamlineError(
        "this session knows no status PVs: run `tomoservice ioc` and name their prefix in the profile "
        "(status_prefix)"
    )


class RunTeller:
    """Says in a line each that a run has begun, and where it is to be seen when it has ended.

    Parameters
    ----------
    page
        Address of the web page.
    """

    def __init__(self, page: str) -> None:
        self._page = page

    def __call__(self, name: str, document: Mapping[str, Any]) -> None:
        """Look at a document."""
        if name == "start":
            number = document.get("scan_id", "")
            sys.stdout.write(f"scan {number}: run {document['uid']} ({document.get('plan_name', '')})\n")
        elif name == "stop":
            sys.stdout.write(f"{document['exit_status']}: {self._page}\n")


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probing:
        probing.bind((LOOPBACK, 0))
        return int(probing.getsockname()[1])


@dataclass(frozen=True)
class Address:
    """Where a service is, and by which key it may be written to."""

    uri: str
    api_key: str | None


class Session:
    """What a session is made of.

    Parameters
    ----------
    options
        What it was told.
    simulation
        What a simulated beamline simulates, its prefix apart.
    """

    RE: RunEngine
    """Runs plans; publishes their runs and asks for reconstructions."""
    tomo: Tomo
    """The service, as `tomoservice.connect` returns it."""
    db: Any
    """The runs as databroker's v1 shows them: ``db[-1].table("primary")``."""
    publisher: RunPublisher
    """Brings runs into Tiled."""
    trigger: ReconstructionTrigger
    """Asks for their reconstruction."""

    def __init__(self, options: SessionOptions, simulation: Mapping[str, Any] | None = None) -> None:
        self.options = options
        self._simulation = dict(simulation or {})
        self.address = Address(options.uri or DEFAULT_URI, None)
        self.notices: list[str] = []
        """What is missing, one line each, with the way out."""
        self._stack = ExitStack()
        self._ioc: RunningIOC | None = None
        self._beamline: Beamline | None = None
        self._config: BeamlineConfig | None = None
        self._service: Future[object] | None = None
        self._status: TomoStatus | None = None

    def start(self) -> None:
        """Start what is asked for, connect to what answers, and make the RunEngine."""
        self._attempt(self._find_service)
        if self.options.sim:
            self._attempt(self._start_beamline)
        self._attempt(self._read_table)
        if self.options.sim:
            self._start_status()
        self._attempt(lambda: self.beamline)
        self._make_engine()
        self._connect_client()
        self._show_live()

    @property
    def beamline(self) -> Beamline:
        """The connected beamline; connected now if it is not yet.

        Raises
        ------
        BeamlineError
            It does not answer, or there is none; says what to do.
        """
        if self._beamline is None:
            if self._config is None:
                raise BeamlineError(
                    "this session has no beamline: begin it with --sim, or with --beamline FILE (its table "
                    "of PVs, see docs/how-to/another-beamline.md); a queueserver reads its name in "
                    "TOMOSERVICE_SESSION_BEAMLINE"
                )
            from profiles.beamline import connect

            self._beamline = connect(self._config)
        return self._beamline

    @property
    def devices(self) -> tuple[Any, ...]:
        """Rotation, sample, shutter and camera."""
        if self._beamline is None:
            return tuple(OnDemand(partial(self._device, name), name) for name in DEVICES)
        return tuple(getattr(self._beamline, name) for name in DEVICES)

    @property
    def tomo_status(self) -> Any:
        """The service's status PVs as a device; it connects as soon as they answer."""
        prefix = self.options.status_prefix or (SIM_PREFIX if self.options.sim else None)
        if prefix is None:
            return OnDemand(_no_status, "tomo_status")
        if self._status is None:
            from profiles.status.device import status_device

            self._status = status_device(prefix)
        return self._status

    def plan(self, plan: Callable[..., Any] | str) -> Callable[..., Any]:
        """Return a plan that is given this session's beamline, and the service, as its first arguments.

        Parameters
        ----------
        plan
            The plan, or the name of one in `profiles.plans` or `profiles.adaptive`. Its first argument is the
            beamline; a second one called ``tomo`` is the service.
        """
        # Not before a simulated beamline has set the addresses of Channel Access, which ophyd reads once.
        whole = find_plan(plan) if isinstance(plan, str) else plan
        return bound_plan(whole, lambda: self.beamline, lambda: self.tomo)

    @property
    def page(self) -> str:
        """Address of the web page."""
        return f"{self.address.uri}/tomo/"

    def summary(self) -> Sequence[str]:
        """Say what the session has, and what it lacks."""
        have = ["RE, tomo_scan, tomo_fly, tomo, db, tomo_status"]
        if self._beamline is not None:
            have.append(f"{', '.join(DEVICES)} of {self._beamline.config.name}")
        return (f"you have: {'; '.join(have)}", f"page: {self.page}", *self.notices)

    def end(self) -> None:
        """Deliver what can be delivered now, and stop what was started; a second time changes nothing."""
        atexit.unregister(self.end)
        self._stack.close()

    def close(self) -> None:
        """End the session within a process that goes on."""
        if self._beamline is not None:
            self._beamline.disconnect()
            self._beamline = None
        if self._status is not None:
            from profiles.status.device import disconnect_status

            disconnect_status(self._status)
            self._status = None
        self.end()
        if not hasattr(self, "RE"):
            # It was never started, or not to the end.
            return
        self.RE.loop.call_soon_threadsafe(self.RE.loop.stop)
        while self.RE.loop.is_running():
            time.sleep(0.01)
        self.RE.loop.close()

    def _device(self, name: str) -> Any:
        return getattr(self.beamline, name)

    def _attempt(self, step: Callable[[], object]) -> None:
        """Do something without which a session is still of use; say in one line why it failed."""
        try:
            step()
        except (TomoserviceError, OSError) as error:
            self.notices.append(" ".join(str(error).split()))

    def _start_beamline(self) -> None:
        from profiles.sim.launch import simulated_beamline
        from profiles.sim.options import SimulationOptions

        options = SimulationOptions(**{**self._simulation, "prefix": SIM_PREFIX})
        self._ioc = self._stack.enter_context(simulated_beamline(options))

    def _read_table(self) -> None:
        if self._ioc is not None:
            raw = self.options.data_folder / "raw"
            raw.mkdir(parents=True, exist_ok=True)
            self._config = self._ioc.config(raw)
        elif self.options.beamline is not None:
            from profiles.config import load_config

            self._config = load_config(self.options.beamline.expanduser())

    def _find_service(self) -> None:
        """Find out where the service is; start one for a simulation if none answers."""
        self.address = self._address()
        from tomoservice.catalog.transport import probe

        try:
            probe(self.address.uri)
        except ServiceUnavailableError as error:
            if not self.options.sim or self.options.uri is not None:
                waiting = f"runs wait in {self.options.session_folder} and are published when it does"
                raise ServiceUnavailableError(f"{error}; {waiting}") from error
            self._start_service()

    def _start_service(self) -> None:
        """Start a service; it takes seconds, for which only those wait who use it."""
        from tomoservice.service.folder import ensure_api_key
        from tomoservice.service.running import running_service

        folder = self.options.data_folder
        folder.mkdir(parents=True, exist_ok=True)
        key, port = ensure_api_key(folder, None), free_port()
        self.address = Address(f"http://{LOOPBACK}:{port}", key)
        settings = {"service": {"port": port, "api_key": key}}
        self._service = self._begin(running_service(folder, settings), "service-start")
        self.notices.append(f"a service of this session starts, with its data in {folder}; tomo waits for it")

    def _start_status(self) -> None:
        from profiles.status.launch import status_ioc

        manager = status_ioc(SIM_PREFIX, self.address.uri, self.address.api_key, SECOND_LOOPBACK)
        self._begin(manager, "status-start")

    def _show_live(self) -> None:
        """Open a window with the running slice, where there is a display."""
        from profiles.live_window import has_display

        if not self.options.window:
            return
        if not has_display():
            self.notices.append("no display: the running slice is shown on the page")
            return
        manager = child_process(
            ["profiles.live_window", self.address.uri],
            "the window",
            WINDOW_S,
            {KEY_VARIABLE: self.address.api_key or ""},
        )
        self._begin(manager, "window-start")

    def _begin(self, manager: AbstractContextManager[object], name: str) -> Future[object]:
        """Start something that the session does not wait for; it says in one line if that fails."""
        begun = enter_in_background(self._stack, manager, name)
        begun.add_done_callback(self._say_if_failed)
        return begun

    def _say_if_failed(self, begun: Future[object]) -> None:
        error = begun.exception()
        if error is not None:
            line = " ".join(str(error).split())
            sys.stderr.write(f"{line}\n")
            self.notices.append(line)

    def _address(self) -> Address:
        from tomoservice.service.folder import read_info, stored_api_key
        from tomoservice.settings import read_api_key

        options = self.options
        info = read_info(options.data_folder)
        uri = options.uri or (info.uri if info else DEFAULT_URI)
        if options.api_key_file is not None:
            return Address(uri, read_api_key(options.api_key_file))
        key = os.environ.get(KEY_VARIABLE) or stored_api_key(options.data_folder)
        return Address(uri, key)

    def _make_engine(self) -> None:
        from bluesky import RunEngine

        from callbacks import ReconstructionTrigger, RunPublisher

        options, address = self.options, self.address
        folder = options.session_folder
        self.RE = RunEngine({}, scan_id_source=ScanNumbers(folder / "scan_id"))
        recipe = Path(options.recipe).expanduser() if os.sep in options.recipe else options.recipe
        self.trigger = ReconstructionTrigger(address.uri, address.api_key, recipe, spool=folder / "requests")
        self._stack.callback(self.trigger.close, ROUND_S)
        self.publisher = RunPublisher(address.uri, address.api_key, spool=folder / "runs")
        self._stack.callback(self.publisher.close, ROUND_S)
        self.RE.subscribe(self.publisher)
        self.RE.subscribe(self.trigger)

    def _connect_client(self) -> None:
        from tomoservice.client import connect

        opened: list[Tomo] = []

        def tomo() -> Tomo:
            if not opened:
                if self._service is not None:
                    self._service.result()
                opened.append(connect(self.address.uri, self.address.api_key))
                self._stack.callback(opened[0].close)
            return opened[0]

        def runs() -> Any:
            return tomo().raw.v1

        self.tomo, self.db = OnDemand(tomo, "tomo"), OnDemand(runs, "db")  # type: ignore[assignment]
