"""Encrypted connections over 0MQ: who has the keys gets documents, and who has not is told why."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from bluesky.callbacks.zmq import ClientCurve
from zmq.auth import create_certificates

from callbacks.curve import client_curve
from callbacks.zmq import ZmqSource, zmq_publisher
from tests.service.conftest import wait_for
from tests.service.dask_processes import free_port
from tests.service.transports.lines import taking, until_connected, zmq_proxy
from tomoservice.cli import run as command
from tomoservice.errors import SettingsError


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of keys: of two proxies, of a client that they know, and of one that they do not."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("proxy", "other-proxy", "known", "stranger"):
        create_certificates(folder, name)
    return folder


def curve(keys: Path, client: str, server: str = "proxy") -> ClientCurve:
    return client_curve(keys / f"{client}.key_secret", keys / f"{server}.key")


def encrypting(keys: Path, side: str, *clients: str) -> Sequence[str | Path]:
    """Return the options of a proxy that encrypts on one side, and knows some clients."""
    known = keys / "-".join(("clients", *clients))
    known.mkdir(exist_ok=True)
    for client in clients:
        shutil.copy(keys / f"{client}.key", known)
    return (f"--{side}-curve-secret", keys / "proxy.key_secret", f"--{side}-curve-client-keys", known)


def refused(source: ZmqSource, caplog: pytest.LogCaptureFixture, reason: str) -> None:
    """Take what a source brings until it says why that is nothing."""
    with taking(source) as heard:
        wait_for(lambda: reason in caplog.text, 20)
    assert heard == []
    assert caplog.text.count(reason) == 1


def test_who_has_the_keys_is_served(keys: Path) -> None:
    into, out = free_port(), free_port()
    source = ZmqSource(f"127.0.0.1:{out}", curve=curve(keys, "known"))
    with (
        zmq_proxy(into, out, *encrypting(keys, "out", "known")),
        closing(zmq_publisher(f"127.0.0.1:{into}")) as publisher,
        taking(source) as heard,
    ):
        until_connected(publisher, heard)


def test_a_run_engine_with_keys_reaches_a_proxy_that_wants_them(keys: Path) -> None:
    into, out = free_port(), free_port()
    with (
        zmq_proxy(into, out, *encrypting(keys, "in", "known")),
        closing(zmq_publisher(f"127.0.0.1:{into}", curve=curve(keys, "known"))) as publisher,
        taking(ZmqSource(f"127.0.0.1:{out}")) as heard,
    ):
        until_connected(publisher, heard)


def test_who_is_not_known_is_told_and_served_when_that_has_changed(
    keys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    into, out = free_port(), free_port()
    caplog.set_level(logging.WARNING)
    source = ZmqSource(f"127.0.0.1:{out}", curve=curve(keys, "stranger"))
    reason = f"the proxy does not know the key in {keys / 'stranger.key_secret'}: put its public half"
    with closing(zmq_publisher(f"127.0.0.1:{into}")) as publisher, taking(source) as heard:
        with zmq_proxy(into, out, *encrypting(keys, "out", "known")):
            wait_for(lambda: reason in caplog.text, 20)
            assert heard == []
        with zmq_proxy(into, out, *encrypting(keys, "out", "known", "stranger")):
            until_connected(publisher, heard)
    assert caplog.text.count(reason) == 1


@pytest.mark.parametrize(
    ("client", "server", "reason"),
    [
        ("known", "other-proxy", "or has another key than the one in"),
        (None, None, "which may want an encrypted one: give it keys"),
    ],
)
def test_wrong_keys_and_none_are_told(
    keys: Path, caplog: pytest.LogCaptureFixture, client: str | None, server: str | None, reason: str
) -> None:
    into, out = free_port(), free_port()
    caplog.set_level(logging.WARNING)
    given = curve(keys, client, server) if client and server else None
    with zmq_proxy(into, out, *encrypting(keys, "out", "known")):
        refused(ZmqSource(f"127.0.0.1:{out}", curve=given), caplog, reason)


def test_a_proxy_that_does_not_encrypt_gets_no_listener_with_keys(
    keys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    into, out = free_port(), free_port()
    caplog.set_level(logging.WARNING)
    source = ZmqSource(f"127.0.0.1:{out}", curve=curve(keys, "known"))
    with zmq_proxy(into, out):
        refused(source, caplog, "the proxy does not encrypt")


def test_files_without_a_key_are_named(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"known\.key has no secret key"):
        client_curve(keys / "known.key", keys / "proxy.key")
    with pytest.raises(SettingsError, match=r"missing\.key is no file with a CURVE key"):
        client_curve(keys / "known.key_secret", tmp_path / "missing.key")
    (tmp_path / "short.key").write_text('curve\n    public-key = "abc"\n')
    with pytest.raises(SettingsError, match=r"short\.key: a CURVE key has 40 characters"):
        client_curve(keys / "known.key_secret", tmp_path / "short.key")
    wrong = ClientCurve(keys / "known.key", keys / "proxy.key")
    with pytest.raises(SettingsError, match="no secret key"):
        zmq_publisher("127.0.0.1:1", curve=wrong)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--from", "nats", "--client-key", "a", "--server-key", "b"], "are for --from zmq"),
        (["--from", "zmq", "--client-key", "a"], "wants both --client-key and --server-key"),
    ],
)
def test_options_that_do_not_fit(
    options: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["listen", *options]) == 2
    assert problem in capsys.readouterr().err
