"""The Dask cluster: whether its scheduler answers, what its workers are, and what they can write."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomoservice.doctor.finding import Finding, ok, warning, wrong
from tomoservice.errors import SettingsError, WorkersLostError
from tomoservice.settings import Settings

if TYPE_CHECKING:
    from distributed import Client

DASK = ("dask", "distributed")
SCHEDULER_S = 5.0
WORKER_S = 10.0
"""A worker that computes may take a moment to answer."""
NAMED = 3
"""How many workers a message names."""
ABSENT = "does not exist"


def check_dask(settings: Settings) -> Iterator[Finding]:
    """Look at the cluster that computes: the one that the settings name, or that of the data folder."""
    try:
        versions = {name: version(name) for name in DASK}
    except PackageNotFoundError as error:
        yield wrong("Dask", f"not installed: {error.name}", "python -m pip install distributed")
        return
    said = _listed(versions)
    if len(set(versions.values())) > 1:
        yield wrong(
            "Dask", f"{said} do not belong together", "python -m pip install --upgrade dask distributed"
        )
        return
    from tomoservice.compute.launch import find_cluster

    compute = settings.compute
    try:
        where, security = find_cluster(settings.data_folder, compute)
    except WorkersLostError:
        yield ok(
            "Dask",
            f"{said}; no cluster runs and compute.scheduler names none: the conductor starts a local one, of "
            f"{_count(compute.workers, 'worker')} with {_count(compute.threads_per_worker, 'slot')} each",
        )
    except SettingsError as error:
        yield warning("Dask", f"{said}; {error}", "run the doctor as the user of the service")
    else:
        yield ok("Dask", f"{said}; a cluster's scheduler and workers want the same")
        yield from _check_cluster(settings, where, security)


def _check_cluster(settings: Settings, where: str, security: Any) -> Iterator[Finding]:
    from distributed.versions import VersionMismatchWarning

    from tomoservice.compute.cluster import LOST, Connection

    problem = _certificate_problem(where, security)
    if problem is not None:
        yield wrong(
            "Dask scheduler",
            f"{where} wants certificates; {problem}",
            "let compute.tls name files that this user can read, signed by the scheduler's authority",
        )
        return
    began = time.perf_counter()
    try:
        with warnings.catch_warnings():
            # Versions are compared below, and said with a way out.
            warnings.simplefilter("ignore", VersionMismatchWarning)
            client = Connection(
                where,
                security=security,
                timeout=SCHEDULER_S,
                set_as_default=False,
                name="tomoservice-doctor",
            )
    except LOST as error:
        yield _silent(settings, where, error)
        return
    took_ms = 1e3 * (time.perf_counter() - began)
    try:
        yield ok("Dask scheduler", f"{where} answers in {took_ms:.0f} ms")
        # Not register_plugin, as whoever computes does: the doctor leaves no trace.
        known = client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=SCHEDULER_S)
        yield from _check_workers(settings, where, known["workers"])
        with _marked(settings.volumes_folder) as mark:
            asked = {"folder": str(settings.volumes_folder), "mark": mark}
            scheduler, answers = client.sync(_ask_all, client, tuple(known["workers"]), asked)
        yield from _check_versions(scheduler, answers)
        yield from _check_volumes(settings.volumes_folder, answers)
    except LOST as error:
        yield wrong(
            "Dask scheduler",
            f"{where} stopped answering: {type(error).__name__}",
            "look at its log",
        )
    finally:
        with suppress(*LOST):
            client.close(timeout=2)


def _certificate_problem(where: str, security: Any) -> str | None:
    """Return why no connection can be encrypted, which Dask's client says by leaving things behind."""
    if security is None:
        return "compute.tls names none" if where.startswith("tls://") else None
    try:
        security.get_connection_args("client")
    except OSError as error:
        return f"those that are given cannot be used: {type(error).__name__}: {error}"
    return None


def _silent(settings: Settings, where: str, error: Exception) -> Finding:
    cause: BaseException = error
    while isinstance(cause.__cause__, Exception):
        # Dask wraps what says most, a refused connection or a certificate.
        cause = cause.__cause__
    said = f"{where} does not answer: {type(cause).__name__}: {cause}".rstrip(": ")
    if settings.compute.scheduler is None:
        # Its file outlives a conductor that is killed.
        return warning(
            "Dask scheduler",
            said,
            f"the conductor of {settings.data_folder} died, hangs, or runs on another host; look at "
            "logs/conductor.log: `tomoservice serve` starts it again within a minute",
        )
    return wrong(
        "Dask scheduler",
        said,
        "start it with `dask scheduler`, or correct compute.scheduler; look at firewalls in between, and "
        "that both sides use tls:// with certificates of the same authority (compute.tls), or neither",
    )


def _check_workers(settings: Settings, where: str, workers: Mapping[str, Any]) -> Iterator[Finding]:
    """Look how many there are, by what the scheduler says of them."""
    from tomoservice.compute.cluster import slots_of

    resource = settings.compute.resource
    option = "" if resource is None else f" --resources {resource}=2"
    start = f"dask worker {where} --nthreads 2 --memory-limit 0{option}"
    if not workers:
        yield warning(
            "Dask workers",
            "none is connected to the scheduler: reconstructions wait",
            "look at logs/conductor.log; workers that die are started again"
            if settings.compute.scheduler is None
            else f"start one on each host that computes: `{start}`",
        )
        return
    slots = [slots_of(worker, resource) for worker in workers.values()]
    said = f"{_count(len(workers), 'worker')} with {_count(sum(slots), 'slot')}"
    if not any(slots):
        yield wrong(
            "Dask workers",
            f"{resource}, for which compute.resource asks, is offered by none of {len(workers)}",
            f"start them with `{start}`, or take compute.resource out of the settings",
        )
    elif not all(slots):
        idle = _some(name for name, count in zip(workers, slots, strict=True) if not count)
        yield ok("Dask workers", f"{said}; no {resource} is offered by {idle}, so nothing is computed there")
    else:
        yield ok("Dask workers", said)


@contextmanager
def _marked(folder: Path) -> Iterator[str | None]:
    """Keep a file in a folder, by which workers tell whether theirs is the same; None where that fails."""
    try:
        file = tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-")  # noqa: SIM115 - closed below
    except OSError:
        yield None
        return
    with file:
        yield file.name


Answer = dict[str, Any] | BaseException


async def _ask_all(
    client: Client, workers: tuple[str, ...], asked: dict[str, Any]
) -> tuple[Answer, dict[str, Answer]]:
    """Return what the scheduler says of itself, and what each worker says; an error where one does not."""
    scheduler, *answers = await asyncio.gather(
        asyncio.wait_for(client.scheduler.versions(packages=[]), SCHEDULER_S),
        *(asyncio.wait_for(_ask(client, worker, asked), WORKER_S) for worker in workers),
        return_exceptions=True,
    )
    return scheduler, dict(zip(workers, answers, strict=True))


async def _ask(client: Client, worker: str, asked: dict[str, Any]) -> dict[str, Any]:
    from tomoservice.compute.cluster import PLUGIN
    from tomoservice.compute.resolution import ENGINE

    request = {"op": "versions", "packages": []}
    told: dict[str, Any] = (await client.scheduler.broadcast(msg=request, workers=[worker]))[worker]
    if _python(told) != _here()["python"]:
        # Its bytecode is another one: what is sent by value might end it.
        return told
    said = await client.run(_question(), PLUGIN, ENGINE, **asked, workers=[worker])
    return {**told, **said[worker]}


def _question() -> Callable[..., Any]:
    """Return what is asked of a worker.

    A function within a function is sent by value: the package may be another one there, or missing.
    """

    async def answer(
        plugin: str, packages: tuple[str, ...], folder: str, mark: str | None, dask_worker: Any = None
    ) -> dict[str, Any]:
        def installed(name: str) -> str | None:
            try:
                return version(name)
            except PackageNotFoundError:
                return None

        def problem() -> str | None:
            if not Path(folder).is_dir():
                return ABSENT
            try:
                with tempfile.TemporaryFile(dir=folder) as file:
                    file.write(b"tomoservice")
            except OSError as error:
                return f"cannot be written ({error.strerror or error})"
            if mark is not None and not Path(mark).exists():
                return "is another folder than here"
            return None

        # What it refuses tasks by dates from its start; packages may have been replaced since.
        known = getattr(dask_worker.plugins.get(plugin), "versions", None)
        # Storage that hangs must not hold up the worker's loop.
        return {
            "engine": known or {name: installed(name) for name in packages},
            "problem": await asyncio.to_thread(problem),
        }

    return answer


def _check_versions(scheduler: Answer, answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """Compare what is installed elsewhere with what is installed here."""
    from tomoservice.compute.resolution import engine_versions

    engine, here = engine_versions(), _here()
    refusing, differing, unasked = defaultdict(list), defaultdict(list), defaultdict(list)
    for name, answer in {"the scheduler": scheduler, **answers}.items():
        if isinstance(answer, BaseException):
            silent = isinstance(answer, TimeoutError)
            unasked["does not answer" if silent else f"{type(answer).__name__}: {answer}"].append(name)
            continue
        packages = answer["packages"]
        there = {"python": _python(answer)} | {package: packages.get(package) for package in DASK}
        if different := _differences(there, here):
            differing[different].append(name)
        if "engine" in answer and (different := _differences(answer["engine"], engine)):
            refusing[different].append(name)
    for text, names in refusing.items():
        yield wrong(
            "Dask workers",
            f"{text} on {_some(names)}: every task is refused there",
            "install the same versions on workers, conductors and servers, and restart these workers",
        )
    for text, names in differing.items():
        yield warning(
            "Dask versions",
            f"{text} on {_some(names)}",
            "run scheduler and workers in the same environment as conductors and servers",
        )
    for text, names in unasked.items():
        yield warning(
            "Dask workers",
            f"{_some(names)} could not be asked: {text}",
            "look at its log; restart it if it stays so",
        )


def _check_volumes(folder: Path, answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """Look whether every worker can write the folder of volumes, and whether it is the one that is here."""
    asked = {name: answer for name, answer in answers.items() if "problem" in _as_dict(answer)}
    problems = defaultdict(list)
    for name, answer in asked.items():
        problems[_as_dict(answer)["problem"]].append(name)
    for problem, names in problems.items():
        if problem is None:
            yield ok("Dask volumes", f"{folder} can be written by {_count(len(names), 'worker')}")
        elif problem == ABSENT and not folder.exists():
            yield warning(
                "Dask volumes",
                f"{folder} exists neither here nor on {_some(names)}",
                "make it on storage that servers, conductors and workers have under the same path",
            )
        else:
            yield wrong(
                "Dask volumes",
                f"{folder} {problem} on {_some(names)}",
                "mount the same storage there under the same path, and let the worker's user write to it",
            )


def _as_dict(answer: Answer) -> dict[str, Any]:
    return {} if isinstance(answer, BaseException) else answer


def _here() -> dict[str, str | None]:
    return {"python": "{}.{}".format(*sys.version_info), **{name: version(name) for name in DASK}}


def _python(told: Mapping[str, Any]) -> str:
    """Return the version of Python whose bytecode somebody else runs."""
    return ".".join(str(told["packages"]["python"]).split(".")[:2])


def _differences(there: Mapping[str, str | None], here: Mapping[str, str | None]) -> str:
    return ", ".join(
        f"{name} {there.get(name) or 'missing'} instead of {mine}"
        for name, mine in here.items()
        if there.get(name) != mine
    )


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _some(names: Iterable[str]) -> str:
    """Return the first names, and how many more there are."""
    every = tuple(names)
    more = len(every) - NAMED
    return ", ".join(every[:NAMED]) + (f" and {more} more" if more > 0 else "")
