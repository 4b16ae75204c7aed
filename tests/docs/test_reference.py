"""The reference of settings, commands, metrics and log events is complete, and names nothing that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tokensvc
from docs.generator import cli, log_events, log_texts, metrics, settings
from tokensvc.cli.help import examples_of, parameters_of
from tokensvc.cli.setting_groups import GROUPS
from tokensvc.container.prometheus import PrometheusMetrics
from tokensvc.settings import Settings

PACKAGE = Path(tokensvc.__file__).parent
COMMANDS = cli.commands()
METRICS = metrics.families()
EVENTS = {event.event: event for event in log_events.log_events()}


def test_every_setting_is_in_one_group_and_says_who_uses_it() -> None:
    listed = [name for group in GROUPS for name in group.names]
    assert sorted(listed) == sorted(Settings.model_fields) == sorted(settings.USED_BY)
    assert settings.MORE.keys() | settings.ALLOWED.keys() <= Settings.model_fields.keys()


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_examples_of_itself(path: str) -> None:
    shown = examples_of(COMMANDS[path])
    assert shown
    for purpose, command in shown:
        assert re.search(rf"\b{path}\b", command), command
        assert len(purpose) <= 72, purpose


@pytest.mark.parametrize("path", COMMANDS)
def test_every_argument_and_option_has_a_meaning_and_a_name_for_its_value(path: str) -> None:
    for parameter in parameters_of(COMMANDS[path]):
        assert parameter.meaning, f"{path}: {parameter.name}"
        assert "None" not in parameter.name, f"{path}: {parameter.name} needs a metavar"


def test_every_metric_is_in_one_group() -> None:
    listed = [name for names in metrics.GROUPS.values() for name in names]
    exported = {f"{f.name}_total" if f.type == "counter" else f.name for f in PrometheusMetrics()._registry.collect()}
    assert sorted(listed) == sorted(METRICS) == sorted(exported)
    assert metrics.UNITS.keys() | metrics.NOTES.keys() <= METRICS.keys()


@pytest.mark.parametrize("name", metrics.VALUES)
def test_the_values_of_a_label_that_exist_from_the_start_are_explained(name: str) -> None:
    assert set(metrics.initial_values(name)) == set(metrics.VALUES[name])


def test_every_log_event_is_explained_and_in_one_group() -> None:
    listed = [name for names in log_texts.GROUPS.values() for name in names]
    assert sorted(listed) == sorted(EVENTS) == sorted(log_texts.EVENTS)


def test_every_field_of_a_log_event_is_explained() -> None:
    assert list(log_texts.FIELDS) == sorted({field for event in EVENTS.values() for field in event.fields})


@pytest.mark.slow
def test_no_call_of_a_logger_is_missed() -> None:
    """Each call is found with at least one event, so an event that cannot be found in the code fails here."""
    for path in sorted(PACKAGE.rglob("*.py")):
        calls = len(re.findall(r"\b_log\.(?:debug|info|warning|error|exception|critical)\(", path.read_text("utf-8")))
        assert len(list(log_events._events_of(path))) >= calls, path


@pytest.mark.parametrize("event", log_events.OTHER_EVENTS, ids=lambda event: event.event)
def test_an_event_that_is_written_without_a_logger_is_in_its_module(event: log_events.LogEvent) -> None:
    assert f'"{event.event}"' in (PACKAGE / event.module).read_text("utf-8")
