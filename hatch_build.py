"""Builds the web page into the wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WEB = Path("tomoservice", "web")
BUILT = WEB / "dist"
SWITCH = "TOMOSERVICE_BUILD_PAGE"
"""Environment variable: 0 takes a page that is built already, or none."""


class PageBuilder(BuildHookInterface[Any]):
    """Runs npm where it is at hand; what it makes goes into the wheel and into the source distribution.

    An editable install is left alone: `make page` builds the page there.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page, or say that there is none."""
        if version == "editable":
            return
        root = Path(self.root)
        if os.environ.get(SWITCH) != "0" and (root / WEB / "package.json").is_file():
            self._build(root / WEB)
        if (root / BUILT / "index.html").is_file():
            build_data["force_include"][str(root / BUILT)] = str(BUILT)
        else:
            self.app.display_warning(
                "NO WEB PAGE in this build: npm was not found or failed, and no page was built before. "
                "Everything else works; /tomo/ will say how to build the page. Install Node 20 or newer and "
                "build again."
            )

    def _build(self, web: Path) -> None:
        npm = shutil.which("npm")
        if npm is None:
            return
        for command in (["ci"], ["run", "build"]):
            self.app.display_info(f"npm {' '.join(command)} in {web}")
            if subprocess.run([npm, *command], cwd=web, check=False).returncode:
                # Without a network, for instance; a page that was built before is taken all the same.
                self.app.display_warning(f"npm {' '.join(command)} failed")
                return
