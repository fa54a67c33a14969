"""`tomoservice session`: everything that is typed at a beamline, in IPython."""

from __future__ import annotations

import os
from pathlib import Path

import click

PROFILE = "tomo"


@click.command(context_settings={"ignore_unknown_options": False})
@click.option("--sim", is_flag=True, help="Start a simulated beamline, and a service if none answers.")
@click.option(
    "--beamline",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Table of the beamline's PVs (YAML).",
)
@click.option(
    "--profile",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Another beamline's profile (Python), a copy of the one that comes with the package.",
)
@click.option(
    "--uri",
    help="Address of the service.  [default: the service of the data folder, else http://127.0.0.1:8000]",
)
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with a key that may write.  [default: TILED_API_KEY, or that of the data folder]",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Data folder of a service on this machine.  [default: tomoservice-data]",
)
@click.option("--window/--no-window", default=None, help="Show the running slice where there is a display.")
@click.argument("ipython_arguments", metavar="[-- IPYTHON ARGUMENTS]", nargs=-1)
def command(
    *,
    sim: bool,
    beamline: Path | None,
    profile: Path | None,
    uri: str | None,
    api_key_file: Path | None,
    data: Path | None,
    window: bool | None,
    ipython_arguments: tuple[str, ...],
) -> int:
    """Begin an IPython session at a beamline, real or simulated.

    It has devices, the plans tomo_scan and tomo_fly, a RunEngine RE that publishes its runs and asks for
    their reconstruction, the service as `tomo`, and the runs as databroker shows them as `db`. What is
    missing, a service or a beamline, is said in one line; scans run without a service and are published when
    it is back. What follows `--` goes to IPython: `tomoservice session --sim -- -c "print(RE.state)"`.
    """
    from profiles.session_options import PREFIX, session_options

    file = profile or _shipped_profile()
    if not file.is_file():
        raise click.UsageError(f"there is no profile {file}; copy the one that comes with the package")
    options = {
        "sim": sim or None,
        "beamline": beamline,
        "uri": uri,
        "api_key_file": api_key_file,
        "data": data,
        "window": window,
    }
    # The profile reads them there, as it does when `ipython --profile-dir` runs it.
    given = {name.upper(): str(value) for name, value in options.items() if value is not None}
    os.environ |= {f"{PREFIX}{name}": value for name, value in given.items()}
    # What is wrong with them is said before IPython starts.
    session_options()
    return _run_ipython(file, ipython_arguments)


def _shipped_profile() -> Path:
    import profiles

    return Path(profiles.__file__).parent / PROFILE / "startup" / f"{PROFILE}.py"


def _run_ipython(profile: Path, arguments: tuple[str, ...]) -> int:
    from IPython.terminal.ipapp import TerminalIPythonApp
    from traitlets.config import Config

    config = Config()
    config.InteractiveShellApp.exec_files = [str(profile.resolve())]
    config.TerminalInteractiveShell.banner1 = ""
    config.TerminalInteractiveShell.confirm_exit = False
    app = TerminalIPythonApp.instance(config=config)
    app.initialize(list(arguments))
    app.start()
    return 0
