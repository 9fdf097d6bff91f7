"""What every test shares: no skips where they are forbidden, no home of the developer's own, and a served gateway."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

import mutation_table
from serving import Served, serve_gateway

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


@pytest.fixture(autouse=True, scope="session")
def _clean_environment() -> None:
    """The developer's own settings do not reach the tests."""
    for name in [name for name in os.environ if name.startswith("GENERIC_CONNECTOR_") and "SKIPS" not in name]:
        del os.environ[name]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:  # noqa: ARG001 - pytest's signature
    """A skip is a failure where `GENERIC_CONNECTOR_NO_SKIPS` is set: what did not run was not shown."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("GENERIC_CONNECTOR_NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"skipped, where skips are forbidden: {report.longrepr}"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway over TLS with the instance `Default`, for all tests of a module."""
    with serve_gateway(tmp_path_factory.mktemp("home")) as served:
        served.add("Default")
        yield served


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print which broken endpoints the conformance kit was tried on, and which of its checks went red."""
    text = mutation_table.summary()
    if text:
        terminalreporter.section("Broken endpoints, and the checks that found them")
        terminalreporter.write_line(text)
