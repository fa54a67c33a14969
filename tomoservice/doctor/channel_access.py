"""Channel Access: its environment, its sockets, its repeater, and whether PVs are found."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from tomoservice.doctor.finding import Finding, ok, warning, wrong

SUBJECT = "Channel Access"
REPEATER = "CA repeater"
PORTS = ("EPICS_CA_SERVER_PORT", "EPICS_CA_REPEATER_PORT", "EPICS_CAS_SERVER_PORT")
BYTES = "EPICS_CA_MAX_ARRAY_BYTES"
SMALLEST_BYTES = 16384
LOOPBACK = "127.0.0.1"
REPEATER_S = 1.0
SEARCH_S = 2.0
SEARCHES = 4
"""How often a PV is asked for in that time: datagrams get lost."""
AT_ONCE = 16
"""PVs that are searched for at the same time."""


def check_channel_access(names: Sequence[str] = ()) -> Iterator[Finding]:
    """Look at what EPICS clients need here, and search for PVs.

    Parameters
    ----------
    names
        PVs to search for.
    """
    given = {name: os.environ[name] for name in sorted(os.environ) if name.startswith("EPICS_CA")}
    problems = _problems(given)
    if problems:
        yield warning(SUBJECT, "; ".join(problems), "set it as the beamline's other sessions have it")
    elif given:
        yield ok(SUBJECT, ", ".join(f"{name}={value}" for name, value in given.items()))
    else:
        yield ok(SUBJECT, "no EPICS_CA variables: devices are looked for on the local networks")
    from caproto import CaprotoError

    try:
        yield from _check_network()
    except (CaprotoError, OverflowError) as error:
        # caproto reads all variables together, and refuses all.
        if not problems:
            yield warning(SUBJECT, f"the variables cannot be used: {error}", "correct the one it names")
        for name in names:
            yield wrong("PV", f"{name} was not searched for", "correct the EPICS_CA variables first")
    else:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            yield from pool.map(_search, names)


def _problems(given: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the environment that EPICS clients take their addresses from."""
    problems = [
        f"{name}={given[name]} is no port"
        for name in PORTS
        if name in given and not (given[name].isdigit() and 0 < int(given[name]) < 65536)
    ]
    size = given.get(BYTES, str(SMALLEST_BYTES))
    if not size.isdigit() or int(size) < SMALLEST_BYTES:
        problems.append(f"{BYTES}={size} is less than {SMALLEST_BYTES}")
    silent = given.get("EPICS_CA_AUTO_ADDR_LIST", "YES").upper() == "NO"
    if silent and not given.get("EPICS_CA_ADDR_LIST", "").strip():
        problems.append("EPICS_CA_AUTO_ADDR_LIST=NO, and EPICS_CA_ADDR_LIST names nobody: no device is found")
    return problems


def _check_network() -> Iterator[Finding]:
    """Open sockets as a client would, without sending anything to anybody else."""
    import caproto

    # First, since it may refuse the environment.
    port = caproto.get_environment_variables()["EPICS_CA_REPEATER_PORT"]
    try:
        with _client_socket():
            pass
    except OSError as error:
        yield warning(
            SUBJECT,
            f"no UDP socket can be opened: {error}",
            "look at the limits of this user and, in a container, at its network; sessions find no device",
        )
        return
    for host, number in sorted(caproto.get_client_address_list()):
        try:
            # Of a datagram socket this looks the name and the route up, and sends nothing.
            with _client_socket() as sock:
                sock.connect((host, number))
        except OSError as error:
            yield warning(
                SUBJECT,
                f"nothing can be sent to {host}:{number}: {error.strerror or error}",
                "correct EPICS_CA_ADDR_LIST, or look at the network of this machine (`ip route`)",
            )
    yield _check_repeater(port)


def _client_socket() -> socket.socket:
    """Return a socket like that from which a client searches."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.bind(("", 0))
    except OSError:
        sock.close()
        raise
    return sock


def _check_repeater(port: int) -> Finding:
    """Look whether a repeater runs, or could: without one, clients notice late that an IOC is back."""
    try:
        # As a client does that wants to know whether it has to start one.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("", port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            return warning(
                REPEATER,
                f"none runs, and UDP port {port} cannot be opened for one: {error.strerror or error}",
                "let EPICS_CA_REPEATER_PORT name a port above 1023, the same for all clients of this machine",
            )
    else:
        return ok(REPEATER, f"none runs; UDP port {port} is free for the one that the first client starts")
    if _repeater_answers(port):
        return ok(REPEATER, f"one answers on UDP port {port}")
    return warning(
        REPEATER,
        f"something that is no repeater has UDP port {port}: nothing confirms within {REPEATER_S:g} s",
        f"see what it is with `ss -ulpn sport = :{port}` and end it, or let EPICS_CA_REPEATER_PORT name "
        "another port, the same for all clients of this machine",
    )


def _repeater_answers(port: int) -> bool:
    import caproto

    to_repeater = caproto.Broadcaster(our_role=caproto.CLIENT)
    deadline = time.monotonic() + REPEATER_S
    with _client_socket() as sock:
        to_repeater.client_address = sock.getsockname()
        try:
            sock.sendto(to_repeater.send(caproto.RepeaterRegisterRequest(LOOPBACK)), (LOOPBACK, port))
            while (left := deadline - time.monotonic()) > 0:
                sock.settimeout(left)
                content, address = sock.recvfrom(caproto.MAX_UDP_RECV)
                heard = to_repeater.recv(content, address)
                if any(isinstance(command, caproto.RepeaterConfirmResponse) for command in heard):
                    return True
        except (OSError, caproto.CaprotoError):
            # Silence, or an answer in another language.
            return False
    return False


def _search(name: str) -> Finding:
    """Search for a PV, and look whether whoever has it can be connected to."""
    from caproto import CaprotoError, CaprotoTimeoutError
    from caproto.sync.client import search

    began = time.perf_counter()
    try:
        with _client_socket() as sock:
            host, port = search(name, sock, SEARCH_S, max_retries=SEARCHES)
    except CaprotoTimeoutError:
        return wrong(
            "PV",
            f"{name} is not found within {SEARCH_S:g} s",
            "look at its spelling, whether its IOC runs, whether EPICS_CA_ADDR_LIST names the IOC's host or "
            "network, and whether firewalls let EPICS_CA_SERVER_PORT (5064) pass by UDP",
        )
    except (CaprotoError, OSError) as error:
        return wrong(
            "PV", f"{name} cannot be searched for: {error}", "correct EPICS_CA_ADDR_LIST and the network"
        )
    took_ms = 1e3 * (time.perf_counter() - began)
    try:
        socket.create_connection((host, port), SEARCH_S).close()
    except OSError as error:
        return wrong(
            "PV",
            f"{name} is found at {host}:{port}, which takes no connection: {error.strerror or error}",
            "let firewalls pass this port by TCP",
        )
    return ok("PV", f"{name} is found at {host}:{port} in {took_ms:.0f} ms")
