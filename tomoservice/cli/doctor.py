"""`tomoservice doctor`: what is wrong, and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tomoservice.cli.connecting import api_key_file_option, service_address, uri_option
from tomoservice.cli.serve import data_option, settings_option

SIGNS = {"ok": "ok     ", "warning": "warning", "wrong": "WRONG  "}


@click.command()
@uri_option
@api_key_file_option
@data_option
@click.option(
    "--pv", "pvs", metavar="NAME", multiple=True, help="Search for this PV, too; may be given several times."
)
@click.option("--json", "as_json", is_flag=True, help="Print a list of findings as JSON.")
@settings_option
def command(
    uri: str | None,
    api_key_file: Path | None,
    data: Path | None,
    pvs: tuple[str, ...],
    as_json: bool,
    settings_file: Path | None,
) -> int:
    """Check storage, database, streaming, service, clocks, kernels, GPU, Dask and Channel Access.

    Exit status 1 when something is wrong without which the service does not work, or a PV is not found.
    """
    from tomoservice.doctor import Place, Verdict, examine
    from tomoservice.settings import load_settings

    conductor = {"uri": uri, "api_key_file": api_key_file}
    settings = load_settings(settings_file, {"data": data, "conductor": conductor})
    findings = []
    for finding in examine(Place(settings, *service_address(settings), pvs)):
        findings.append(finding)
        if not as_json:
            click.echo(f"{SIGNS[finding.verdict]}  {finding.subject}: {finding.said}")
            if finding.advice:
                click.echo(f"{'':9}-> {finding.advice}")
    if as_json:
        click.echo(json.dumps([finding.as_json() for finding in findings], indent=2))
    return int(any(finding.verdict is Verdict.WRONG for finding in findings))
