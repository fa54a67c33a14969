"""`tomoservice listen` as the page says to type it: encrypted, and by rules that change meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from callbacks.zmq import zmq_publisher
from tests.service.backends import HOW_TO, documented
from tests.service.conftest import wait_for
from tests.service.dask_processes import free_port
from tests.service.transports.contract import numbers, uid_of
from tests.service.transports.lines import Sender
from tomoservice.client import Tomo
from tomoservice.service.running import RunningService

PAGE = HOW_TO / "triggering.md"


class Typist:
    """Types blocks of the page in a folder, with ports of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.into, self.out = free_port(), free_port()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**os.environ, "PATH": path, **environment}

    def type(self, block: str) -> None:
        """Run a block that ends by itself."""
        code = documented(block, PAGE)
        subprocess.run(["bash", "-ec", code], cwd=self.folder, env=self._environment, check=True)

    @contextmanager
    def running(self, block: str, options: str = "", end: signal.Signals = signal.SIGINT) -> Iterator[Path]:
        """Run a block that stays up; yield the file of what it says."""
        code = documented(block, PAGE).rstrip().replace("0.0.0.0", "127.0.0.1")
        code = code.replace(":5567", f":{self.into}").replace(":5568", f":{self.out}")
        told = self.folder / f"{block}.log"
        with told.open("wb") as stream:
            process = subprocess.Popen(
                ["bash", "-ec", f"exec {code} {options}"],
                cwd=self.folder,
                env=self._environment,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        try:
            yield told
        finally:
            process.send_signal(end)
            process.wait(30)


def write_rules(folder: Path, text: str) -> None:
    # In one go, as editors do: nobody reads half of it.
    (folder / "new").write_text(text)
    (folder / "new").replace(folder / "rules.yml")


def send(publisher: Sender) -> str:
    docs = numbers()
    publisher.send(docs)
    return uid_of(docs)


def test_rules_change_while_it_listens_encrypted(
    quiet_service: RunningService, tomo: Tomo, tmp_path: Path
) -> None:
    typist = Typist(tmp_path, TILED_API_KEY=quiet_service.api_key)
    typist.type("zmq keys")
    write_rules(tmp_path, "rules: []\n")
    options = f"--uri {quiet_service.uri} --publish --rules rules.yml --spool spool"
    with (
        # Bluesky's proxy does not always end on Ctrl-C while it encrypts.
        typist.running("zmq proxy", end=signal.SIGKILL),
        closing(zmq_publisher(f"127.0.0.1:{typist.into}")) as publisher,
        typist.running("zmq listen", options) as told,
    ):
        sender = Sender(publisher)

        sent: list[str] = []

        def arrives() -> bool:
            sent.append(send(sender))
            time.sleep(0.5)
            return any(uid in tomo.raw for uid in sent)

        wait_for(arrives, 60)
        before = send(sender)
        wait_for(lambda: before in tomo.raw and "stop" in tomo.raw[before].metadata)
        write_rules(tmp_path, "rules:\n- volume: virtual\n")
        after = send(sender)
        wait_for(lambda: bool(tomo.reconstructions(after)))
        assert tomo.reconstructions(before) == []
        write_rules(tmp_path, "rules:\n- volume: half\n")
        wait_for(lambda: "stay in force" in told.read_text())
        again = send(sender)
        wait_for(lambda: bool(tomo.reconstructions(again)))
    first, *said = told.read_text().splitlines()
    assert first.startswith("listening to zmq at")
    assert [line.partition("callbacks.rule_file: ")[2] for line in said] == [
        "rules.yml: as it is now it holds from the next run on",
        "rules.yml: line 2: rules.0.volume: got 'half', wants 'full' or 'virtual'; "
        "the rules before stay in force",
    ]
