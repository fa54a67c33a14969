"""Who may read and make what, by tags on nodes, where several people have accounts."""

from __future__ import annotations

import grp
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tiled.access_control.access_policies import TagBasedAccessPolicy
from tiled.access_control.access_tags import AccessTagsCompiler
from tiled.access_control.protocols import normalize_access_tags
from tiled.access_control.scopes import ALL_SCOPES


class TomoAccessPolicy(TagBasedAccessPolicy):
    """Tiled's policy by tags, with what a service needs that works for other people.

    Tiled 0.2.20 lets nobody put a tag ``user:...`` on a node, not even the conductor, which has to give
    what it makes to whoever owns the run. Here an administrator may use any tag, and everybody their own.

    Parameters
    ----------
    provider : str
        Whose accounts the tags are about.
    access_tags_parser : str
        Where definitions are read.
    """

    def __init__(
        self,
        *,
        provider: str,
        access_tags_parser: str = "tiled.access_control.access_tags:AccessTagsParser",
    ) -> None:
        super().__init__(provider=provider, access_tags_parser=access_tags_parser)

    async def init_node(
        self,
        principal: Any,
        authn_access_tags: Any,
        authn_scopes: Any,
        access_tags: Iterable[str] | None = None,
    ) -> tuple[bool, frozenset[str]]:
        """Return the tags of a node that is about to be made, and whether they are others than asked for."""
        if access_tags is not None:
            asked: frozenset[str] = normalize_access_tags(access_tags)
            if asked and self._is_admin(authn_scopes) and authn_access_tags is None:
                return False, asked
            if asked and asked <= self._own_tags(principal):
                # Given by default.
                access_tags = None
        result: tuple[bool, frozenset[str]] = await super().init_node(
            principal, authn_access_tags, authn_scopes, access_tags=access_tags
        )
        return result

    def _own_tags(self, principal: Any) -> set[str]:
        service = principal.type == "service"
        identifier = str(principal.uuid) if service else self._get_id(principal)
        own: set[str] = self._get_principal_tag(principal.type, identifier)
        return own


async def define_tags(file: Path, database_settings: Any) -> None:
    """Bring the definitions of tags in a file into the catalogue; those that are gone lose their power.

    Parameters
    ----------
    file : Path
        Roles, tags and owners, in Tiled's format.
    database_settings : DatabaseSettings
        Of the catalogue.
    """
    compiler = AccessTagsCompiler(set(ALL_SCOPES), file, database_settings, _members)
    compiler.load_tag_config()
    await compiler.compile()


def _members(group: str) -> list[str]:
    """Return who is in a group of the system."""
    return list(grp.getgrnam(group).gr_mem)
