"""Where errors of threads end that look after nodes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from tomoservice.errors import CatalogError, ServiceUnavailableError, SettingsError

logger = logging.getLogger(__name__)


@contextmanager
def boundary(doing: str) -> Iterator[None]:
    """Let nothing through: neither may one odd node end the thread, nor keep the others waiting."""
    try:
        yield
    except ServiceUnavailableError as error:
        logger.info("%s: %s", doing, error)
    except (CatalogError, SettingsError) as error:
        logger.warning("%s: %s", doing, error)
    except Exception:
        logger.exception("%s: unexpected error", doing)
