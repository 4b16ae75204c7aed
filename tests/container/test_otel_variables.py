"""OpenTelemetry's variables are checked by name before anything is started."""

from __future__ import annotations

import pytest

from tokensvc.container.otel_variables import check_otel_variables
from tokensvc.errors import SettingsError


@pytest.mark.parametrize("value", ["secret-in-the-wrong-variable", "-1", "nan"])
@pytest.mark.parametrize("signal", ["", "TRACES_"])
@pytest.mark.parametrize("variable", ["TIMEOUT", "COMPRESSION", "ENDPOINT", "PROTOCOL"])
def test_a_variable_that_cannot_be_used_is_an_error_without_its_value(variable: str, signal: str, value: str) -> None:
    name = f"OTEL_EXPORTER_OTLP_{signal}{variable}"
    with pytest.raises(SettingsError) as raised:
        check_otel_variables({name: value})
    [error] = raised.value.errors
    assert error.field == name
    assert value not in error.rule.split()


def test_all_errors_are_reported_together() -> None:
    variables = {"OTEL_EXPORTER_OTLP_TIMEOUT": "soon", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}
    with pytest.raises(SettingsError) as raised:
        check_otel_variables(variables)
    assert {error.field for error in raised.value.errors} == set(variables)


def test_valid_variables_and_those_of_others_are_accepted() -> None:
    check_otel_variables(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.example:4318",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "2.5",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20secret",
            "OTEL_TRACES_SAMPLER": "anything",
        }
    )
