"""Previews and searches for the axis over HTTP."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.service.scans import FOURIER, SLOW
from tomoservice.service.running import RunningService


@pytest.fixture
def api(service: RunningService, slow_run: str) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=f"{service.uri}/api/v1/tomo/scans/{slow_run}",
        headers={"Authorization": f"Apikey {service.api_key}"},
        timeout=120,
    ) as client:
        yield client


def pixels(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    shape = [int(size) for size in answer.headers["X-Tomo-Shape"].split(",")]
    return np.frombuffer(answer.content, answer.headers["X-Tomo-Dtype"]).reshape(shape)


def test_a_slice_is_that_of_the_volume(api: httpx.Client, truth: np.ndarray) -> None:
    answer = api.post("/preview", json={"recipe": FOURIER, "number": 200})
    assert np.abs(pixels(answer) - truth[200]).max() < 1e-3 * np.abs(truth[200]).max()
    assert answer.headers["X-Tomo-Units"] == "1/pixel"
    assert float(answer.headers["X-Tomo-Rotation-Axis"]) == 47.5


def test_another_axis_costs_one_back_projection(api: httpx.Client) -> None:
    api.post("/preview", json={"recipe": FOURIER, "number": 100})
    moved = {"rotation_axis": {"method": "value", "value": 46.0}}
    answer = api.post("/preview", json={"recipe": moved, "number": 100})
    assert set(json.loads(answer.headers["X-Tomo-Seconds"])) == {"plan", "reconstruct", "finish"}


def test_sinogram_projection_and_picture(api: httpx.Client) -> None:
    sinogram = pixels(api.post("/preview", json={"recipe": FOURIER, "number": 9, "view": "sinogram"}))
    assert sinogram.shape == (SLOW.angles, SLOW.columns)
    projection = pixels(api.post("/preview", json={"number": 4, "view": "projection"}))
    assert projection.shape == (SLOW.rows, SLOW.columns)
    assert np.allclose(projection[9], sinogram[4], atol=1e-5)
    answer = api.post(
        "/preview", json={"recipe": FOURIER, "number": 9, "format": "png", "low": 0.0, "high": 0.01}
    )
    assert answer.status_code == 200, answer.text
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.size == (SLOW.columns, SLOW.columns)
        assert picture.mode == "L"
        assert np.asarray(picture)[48, 48] > 128


def test_planes_along_the_axis(api: httpx.Client, truth: np.ndarray) -> None:
    wanted = {"recipe": FOURIER, "view": "xz", "number": 40, "max_width": 48}
    answer = api.post("/preview", json=wanted)
    image, half = pixels(answer), [size // 2 for size in truth.shape]
    assert answer.headers["X-Tomo-Binning"] == "2"
    assert answer.headers["X-Tomo-Full-Shape"] == f"{truth.shape[0]},{truth.shape[2]}"
    assert answer.headers["X-Tomo-Units"] == "1/pixel"
    binned = truth.reshape(half[0], 2, half[1], 2, half[2], 2).mean((1, 3, 5))
    assert np.corrcoef(image.ravel(), binned[:, 20].ravel())[0, 1] > 0.9
    # from the other side, of what has been computed already; and voxel by voxel
    side = api.post("/preview", json={**wanted, "view": "yz"})
    assert set(json.loads(side.headers["X-Tomo-Seconds"])) == {"plan"}
    exact = api.post("/preview", json={**wanted, "max_width": None})
    assert exact.headers["X-Tomo-Binning"] == "1"
    assert np.abs(pixels(exact) - truth[:, 40]).max() < 1e-3 * np.abs(truth).max()
    beside = api.post("/preview", json={**wanted, "number": 96})
    assert beside.status_code == 422
    assert "y: got 96, but this recipe gives 0 to 95" in beside.text


def test_a_picture_for_a_slow_line(api: httpx.Client) -> None:
    whole = pixels(api.post("/preview", json={"recipe": FOURIER, "number": 9}))
    answer = api.post("/preview", json={"recipe": FOURIER, "number": 9, "max_width": 40, "format": "uint16"})
    assert (answer.headers["X-Tomo-Binning"], answer.headers["X-Tomo-Full-Shape"]) == ("3", "96,96")
    low, high = (float(answer.headers[f"X-Tomo-{end}"]) for end in ("Low", "High"))
    seen = low + pixels(answer) * (high - low) / 65535
    expected = whole.reshape(32, 3, 32, 3).mean(axis=(1, 3))
    assert np.abs(seen - expected).max() <= (high - low) / 65535
    coarse = api.post("/preview", json={"recipe": FOURIER, "number": 9, "format": "uint8", "low": 0.0})
    assert pixels(coarse).max() == 255
    assert float(coarse.headers["X-Tomo-Low"]) == 0.0


def test_what_one_stage_does(api: httpx.Client) -> None:
    recipe = {**FOURIER, "stripes": {"method": "sorting"}}
    sinogram = {"recipe": recipe, "number": 9, "view": "sinogram"}
    without = pixels(api.post("/preview", json={**sinogram, "recipe": FOURIER}))
    assert np.array_equal(pixels(api.post("/preview", json={**sinogram, "after": "flat_field"})), without)
    after = pixels(api.post("/preview", json={**sinogram, "after": "stripes"}))
    assert np.array_equal(after, pixels(api.post("/preview", json=sinogram)))
    assert not np.array_equal(after, without)


def test_a_projection_before_any_recipe(api: httpx.Client) -> None:
    seen = api.post("/preview", json={"number": 4, "view": "recorded-projection"})
    assert seen.headers["X-Tomo-Units"] == "counts"
    assert np.array_equal(pixels(seen), SLOW.frames()["primary"][4].astype(np.float32))


def test_thumbnails_are_made_once(service: RunningService, api: httpx.Client, slow_run: str) -> None:
    # Whoever may look may have one; nobody needs a key for that here.
    address = f"{api.base_url}thumbnail"
    first = httpx.get(address, params={"width": 64}, timeout=60)
    assert first.headers["Content-Type"] == "image/png"
    with Image.open(io.BytesIO(first.content)) as picture:
        assert picture.size == (64, 256)
    assert len(list((service.data / "thumbnails").glob("*.png"))) == 1
    again = httpx.get(address, params={"width": 64}, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    none_yet = httpx.get(address, params={"kind": "slice"})
    assert none_yet.status_code == 404
    assert "no volume" in none_yet.json()["detail"]
    assert httpx.get(address, params={"width": 9999}).json()["problems"][0]["field"] == "width"


def test_the_axis_comes_with_its_curve(api: httpx.Client) -> None:
    found = api.post("/axis", json={}).json()
    assert abs(found["rotation_axis"] - 47.5) < 0.25
    assert len(found["candidates"]) == len(found["metric"]) > 10
    assert 0 <= found["confidence"] <= 1


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"recipe": {"filtr": 1}}, 422, "filtr"),
        ({"recipe": FOURIER, "number": 384}, 422, "got 384, but this recipe gives 0 to 383"),
        ({"recipe": {"rotation_axis": {"method": "value", "value": 400.0}}}, 422, "400"),
        ({"colour": "red"}, 422, "colour"),
    ],
)
def test_what_is_wrong_is_said(api: httpx.Client, body: dict[str, Any], status: int, says: str) -> None:
    answer = api.post("/preview", json=body)
    assert answer.status_code == status
    assert says in answer.text


def test_who_may_only_read_may_not_compute(service: RunningService, api: httpx.Client) -> None:
    # Anonymous people read what is described, but have nothing computed by a recipe of theirs.
    answer = httpx.post(f"{api.base_url}preview", json={})
    assert answer.status_code in (401, 403)


def test_runs_that_are_not_there(service: RunningService) -> None:
    headers = {"Authorization": f"Apikey {service.api_key}"}
    for uid in ("nonsense", "..%2Fprocessed"):
        answer = httpx.post(f"{service.uri}/api/v1/tomo/scans/{uid}/preview", json={}, headers=headers)
        assert answer.status_code == 404


def test_who_computes_is_well_and_counted(service: RunningService, api: httpx.Client) -> None:
    api.post("/preview", json={"recipe": FOURIER, "number": 5})
    well = httpx.get(f"{service.uri}/api/v1/tomo/health", timeout=30)
    assert (well.status_code, well.json()["status"]) == (200, "ok"), well.text
    headers = {"Authorization": f"Apikey {service.api_key}"}
    numbers = httpx.get(f"{service.uri}/api/v1/tomo/metrics", headers=headers, timeout=30).text
    (count,) = re.findall(r'tomoservice_interactive_seconds_count{task="show"} (\S+)', numbers)
    assert float(count) >= 1
