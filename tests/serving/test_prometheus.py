"""The metrics middleware."""

import pytest
from fastapi import FastAPI, Request

from contracts.server import run_server
from leanrec.serving.error_handlers import install_error_handlers
from leanrec.serving.prometheus import MetricsMiddleware, ServingMetrics


@pytest.fixture
def metrics() -> ServingMetrics:
    return ServingMetrics()


def make_app(metrics: ServingMetrics) -> FastAPI:
    app = FastAPI()
    app.add_middleware(MetricsMiddleware, metrics=metrics, max_bytes=100)
    install_error_handlers(app)

    @app.post("/echo/{name}")
    async def echo(name: str, request: Request) -> dict[str, int]:
        return {name: len(await request.body())}

    return app


def test_requests_are_counted_by_the_template_of_the_route(metrics: ServingMetrics) -> None:
    with run_server(make_app(metrics)) as client:
        for name in "abc":
            response = client.post(f"/echo/{name}", content=b"1234")
            assert response.json() == {name: 4}
            assert float(response.headers["server-timing"].removeprefix("app;dur=")) > 0
        client.request("PROPFIND", "/nowhere")
    text = metrics.render().decode()
    assert 'leanrec_requests_total{method="POST",route="/echo/{name}",status="200"} 3.0' in text
    assert 'method="other",route="other"' in text
    assert "PROPFIND" not in text


def test_a_too_large_request_is_refused(metrics: ServingMetrics) -> None:
    with run_server(make_app(metrics)) as client:
        response = client.post("/echo/a", content=b"x" * 101)
    assert response.status_code == 413
    assert "may have 100 bytes" in response.json()["error"]["message"]


def test_names_follow_the_conventions(metrics: ServingMetrics) -> None:
    for family in metrics.registry.collect():
        assert family.name.startswith("leanrec_")
        assert family.documentation.endswith(".")
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket", "_ms", "_milliseconds"))
        if family.type == "histogram":
            assert family.name.endswith("_seconds")


def test_only_the_version_that_is_served_is_told(metrics: ServingMetrics) -> None:
    sizes = []
    for number in range(100):
        metrics.tell_version("ease", f"{number:012x}")
        sizes.append(len(metrics.render()))
    assert len(set(sizes)) == 1
    assert b'leanrec_version_info{model="ease",version="000000000063"} 1.0' in metrics.render()


def test_lost_lists_are_a_counter(metrics: ServingMetrics) -> None:
    for n_lost in (0, 2, 2, 5):
        metrics.count_lost(n_lost)
    assert b"leanrec_lists_lost_total 5.0" in metrics.render()
