"""Lists that the database of a catalogue gives by itself."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pydantic import ValidationError
from tiled.queries import AccessTagsFilter

from tests.service.catalogues import Catalogue, anybody, within
from tomoservice.catalog import names
from tomoservice.catalog.batch_records import MOST_ITEMS, BatchRecord, checked_batch
from tomoservice.catalog.batches import check_items
from tomoservice.errors import CatalogError
from tomoservice.service import catalogue
from tomoservice.service.batch_models import AdditionRequest, BatchRequest, OrderRequest
from tomoservice.service.batches_api import list_batches
from tomoservice.service.catalogue import newest_first, said, tags_of_children


def test_a_page_of_reconstructions_says_where_each_is() -> None:
    async def work(made: Catalogue) -> None:
        for run in ("other", "another"):
            await made.make("processed", run)
        for path in (("run", "a"), ("other", "b"), ("another", "c"), ("run", "d")):
            await made.make("processed", *path, spec=names.RECONSTRUCTION_SPEC, status={"state": "done"})
            await made.make("processed", *path, "progress", status={"state": "done"})
        found = catalogue.reconstructions_of(await made.find("processed"))
        done = said("status", "state") == "done"
        rows = await catalogue.select_rows(found, done, limit=2, offset=1)
        assert [row.path for row in rows] == [("another", "c"), ("other", "b")]
        assert [row.metadata["status"]["state"] for row in rows] == ["done"] * 2
        rows = await catalogue.select_rows(found, order=[newest_first()])
        assert [row.path[-1] for row in rows] == ["d", "c", "b", "a"]
        top = await catalogue.select_rows(await made.find("processed"))
        assert [row.path for row in top] == [("another",), ("other",), ("run",)]
        assert (await catalogue.select_rows(made.tree.search_deep(max_depth=2)))[0].path[0] == "processed"

    within(work)


def test_where_a_node_is_takes_no_longer_in_a_large_catalogue() -> None:
    async def work(made: Catalogue) -> None:
        await made.make("processed", "run", "job", spec=names.RECONSTRUCTION_SPEC)
        await made.copy("processed", "run", "job", times=10_000)
        found = catalogue.reconstructions_of(await made.find("processed"))
        rows = await catalogue.select_rows(found, limit=50)
        ids = [row.id for row in rows]
        started = time.perf_counter()
        paths = await catalogue._paths(found, ids)
        taken = time.perf_counter() - started
        started = time.perf_counter()
        theirs = await found.relative_keys_for_ids(ids)
        assert paths == {number: tuple(path.split("/")) for number, path in theirs.items()}
        # By Tiled's own way, which goes through the whole catalogue.
        assert taken < (time.perf_counter() - started) / 2

    within(work)


def test_a_page_of_batches_says_how_many_items_are_where() -> None:
    async def work(made: Catalogue) -> None:
        for number in range(1, 4):
            said_of_it = {"runs": ["run", "other"], "recipes": [{}], "submitted": number != 3}
            await made.make("batches", f"b{number}", spec=names.BATCH_SPEC, **said_of_it)
        await made.make("batches", "b2", "control-pause")
        await made.make("batches", "spoilt", spec=names.BATCH_SPEC, runs=7)
        await made.make("batches", "none", runs=["run"])
        await made.make("processed", "other")
        spec = names.RECONSTRUCTION_SPEC
        for run, key, batch, state in (
            ("run", "b1-1", {"id": "b1", "number": 1}, "done"),
            ("run", "b2-1", {"id": "b2", "number": 1}, "queued"),
            ("other", "b2-2", {"id": "b2", "number": 2}, "rotten"),
            ("other", "mine", {"id": "b2", "number": 2}, "running"),
            ("other", "alone", "b2", "running"),
        ):
            await made.make("processed", run, key, spec=spec, batch=batch, status={"state": state})
        page = await list_batches(anybody(made), 3, 0)
        assert page.total == 4
        assert [(each.id, each.state.value, each.summary.counts) for each in page.batches] == [
            ("spoilt", "refused", {}),
            ("b3", "submitting", {"waiting": 2}),
            ("b2", "paused", {"failed": 1, "queued": 1}),
        ]
        (last,) = (await list_batches(anybody(made), 3, 3)).batches
        # The other one has been deleted.
        assert (last.id, last.state.value, last.summary.counts) == (
            "b1",
            "finished",
            {"done": 1, "cancelled": 1},
        )

    within(work)


def test_tags_of_very_many_runs_are_asked_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(made: Catalogue) -> None:
        await made.make("raw", "run")
        await made.copy("raw", "run", times=2500)
        asked, real = [0], catalogue.fetch

        async def counted(container: Any, statement: Any) -> Any:
            asked[0] += 1
            return await real(container, statement)

        monkeypatch.setattr(catalogue, "fetch", counted)
        raw = await anybody(made).allowing("raw", scopes=["create:node"])
        runs = [f"run-{number}" for number in range(1, 2501)]
        assert await tags_of_children(raw, [*runs, "nonsense"]) == {run: set() for run in runs}
        assert asked[0] == 3

    within(work)


def test_tags_are_those_of_the_runs_that_may_be_used() -> None:
    async def work(made: Catalogue) -> None:
        await made.define_tags("a", "b", "c")
        await made.make("raw", "mine", tags=["a", "b"])
        await made.make("raw", "theirs", tags=["c"])
        await made.make("raw", "nobody's")
        raw = await made.find("raw")
        runs = ["mine", "theirs", "nobody's"]
        assert await tags_of_children(raw, runs) == {"mine": {"a", "b"}, "theirs": {"c"}, "nobody's": set()}
        mine = raw.search(AccessTagsFilter(["a"]))
        assert await tags_of_children(mine, runs) == {"mine": {"a", "b"}}

    within(work)


def test_a_request_without_end_is_refused_before_anything_else() -> None:
    many = ["a"] * (MOST_ITEMS + 1)
    for wrong in ({"runs": many}, {"runs": ["a"], "recipes": [{}] * 101}):
        with pytest.raises(ValidationError, match="at most"):
            BatchRequest.model_validate(wrong)
        with pytest.raises(CatalogError, match="at most"):
            checked_batch(wrong)
    with pytest.raises(ValidationError, match="at most 10000"):
        OrderRequest.model_validate({"items": [1] * (MOST_ITEMS + 1)})
    for wrong in ({"runs": many}, {"runs": ["a"], "recipes": [{}] * 101}):
        with pytest.raises(ValidationError, match="at most"):
            AdditionRequest.model_validate(wrong)


def test_the_order_of_a_large_batch_is_checked_in_a_moment() -> None:
    said_of_it = {"runs": [f"r{number}" for number in range(MOST_ITEMS)], "recipes": [{}]}
    record = BatchRecord("large", checked_batch(said_of_it))
    started = time.monotonic()
    with pytest.raises(CatalogError, match="has every item once; there are 1 to 10000"):
        check_items(record, [1, *range(1, MOST_ITEMS)])
    # Two numbers compared with a set made for each are minutes.
    assert time.monotonic() - started < 2
