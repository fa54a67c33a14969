"""Keys for encrypted connections over 0MQ (CURVE), in files of ``zmq.auth.create_certificates``."""

from __future__ import annotations

from pathlib import Path

from bluesky.callbacks.zmq import ClientCurve
from zmq.auth.certs import load_certificate

from tomoservice.errors import SettingsError

LENGTH = 40
"""Of a key in its printable form (Z85)."""
MAKE = "`zmq.auth.create_certificates` makes both halves of one"


def client_curve(client_key: Path | str, server_key: Path | str) -> ClientCurve:
    """Return what a client needs so that a proxy takes it, and so that it takes no other for its proxy.

    Parameters
    ----------
    client_key : Path or str
        The client's own key with its secret half (``NAME.key_secret``). Its public half (``NAME.key``) is to
        be in the proxy's folder of clients.
    server_key : Path or str
        The proxy's public key (``NAME.key``).

    Raises
    ------
    SettingsError
        A file cannot be read, or does not hold such a key.
    """
    curve = ClientCurve(Path(client_key).expanduser(), Path(server_key).expanduser())
    read_keys(curve)
    return curve


def read_keys(curve: ClientCurve) -> tuple[bytes, bytes, bytes]:
    """Return public and secret key of the client, and public key of the server.

    Raises
    ------
    SettingsError
        A file cannot be read, or does not hold such a key.
    """
    public, secret = _read(curve.secret_path)
    if secret is None:
        raise SettingsError(
            f"{curve.secret_path} has no secret key, which the client's own file must have; {MAKE}"
        )
    return public, secret, _read(curve.server_public_key)[0]


def _read(path: Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = load_certificate(path)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} is no file with a CURVE key: {error}; {MAKE}") from error
    if any(key is not None and len(key) != LENGTH for key in (public, secret)):
        raise SettingsError(f"{path}: a CURVE key has {LENGTH} characters; {MAKE}")
    return public, secret
