"""What is done with documents from elsewhere: runs that end are reconstructed, and published if wanted."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from callbacks.arrival import DocumentSource
from callbacks.publisher import RunPublisher
from callbacks.recipe_names import DEFAULT_RECIPE
from callbacks.rules import Decider
from callbacks.trigger import ReconstructionTrigger

logger = logging.getLogger(__name__)


class Listener:
    """A trigger, and a publisher if one is wanted, for documents that a source brings.

    Parameters
    ----------
    uri : str
        Address of the service.
    api_key : str or None
        Key that may write.
    spool : Path
        Folder for what has not been delivered.
    rules : Rules or RuleFile, optional
        Which runs are reconstructed, and how.
    recipe : str
        Name or file of the recipe where neither rule nor plan names one.
    publish : bool
        Whether the runs are written to Tiled, too.
    """

    def __init__(
        self,
        uri: str,
        api_key: str | None,
        *,
        spool: Path,
        rules: Decider | None = None,
        recipe: str = DEFAULT_RECIPE,
        publish: bool = False,
    ) -> None:
        # Whoever can send a document here could have any file of this machine read.
        self._trigger = ReconstructionTrigger(uri, api_key, recipe, spool=spool, rules=rules, files=False)
        self._publisher = RunPublisher(uri, api_key, spool=spool, go_on=True) if publish else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def listen(self, source: DocumentSource) -> None:
        """Take what a source brings, until that is stopped."""
        source.run(self.take)

    def wait(self, timeout_s: float) -> bool:
        """Wait until nothing is left to deliver; tell whether that is so."""
        published = self._publisher is None or self._publisher.wait(timeout_s)
        return self._trigger.wait(timeout_s) and published

    def close(self, timeout_s: float = 60.0) -> None:
        """Deliver what can be delivered now; the rest stays on disk."""
        # The trigger waits for runs that the publisher brings.
        if self._publisher is not None:
            self._publisher.close(timeout_s)
        self._trigger.close(timeout_s)

    def take(self, name: str, doc: Mapping[str, Any]) -> None:
        """Deal with a document.

        Raises
        ------
        OSError
            It cannot be kept on disk; it is to come again.
        """
        takers = [self._trigger.take]
        if self._publisher is not None:
            takers.insert(0, self._publisher.take)
        for take in takers:
            try:
                take(name, doc)
            except OSError:
                # What the disk refuses is to come again.
                raise
            except Exception:
                # It would be as useless the next time.
                logger.warning("a %s document is no use", name, exc_info=True)
