from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sources.documents import Document


@pytest.fixture(scope="session")
def raw_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the Tiled server may read raw files from."""
    return tmp_path_factory.mktemp("raw")


@pytest.fixture(scope="session")
def tiled_raw(raw_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return the container of runs on a real Tiled server in this process."""
    from tiled.client import from_uri
    from tiled.server import SimpleTiledServer

    folder = tmp_path_factory.mktemp("tiled")
    with SimpleTiledServer(folder, api_key="secret", readable_storage=[raw_folder]) as server:
        client = from_uri(server.uri)
        yield client.create_container("raw")
        client.context.close()


@pytest.fixture
def publish(tiled_raw: Any) -> Callable[..., Any]:
    """Return a function that sends documents through the real TiledWriter and returns the run's node."""
    from bluesky_tiled_plugins import TiledWriter

    def send(documents: Iterator[Document], **options: Any) -> Any:
        writer = TiledWriter(tiled_raw, batch_size=20, **options)
        uid = ""
        for name, document in documents:
            uid = uid or document["uid"]
            writer(name, document)
        return tiled_raw[uid]

    return send
