"""The operator's settings: environment, options over it, and messages that name the setting."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from queueworker.errors import SettingsError
from queueworker_operator.cli import logs
from queueworker_operator.settings import OperatorSettings


def test_without_an_environment_the_defaults_hold() -> None:
    settings = OperatorSettings.from_environment({})
    assert (settings.namespaces, settings.metrics_port, settings.busy_seconds) == ((), 8080, 1.0)
    assert not settings.allow_loopback_redis


def test_the_environment_as_the_chart_writes_it() -> None:
    settings = OperatorSettings.from_environment(
        {
            "QUEUEWORKER_OPERATOR_NAMESPACES": "jobs, mail,",
            "QUEUEWORKER_OPERATOR_ALLOW_LOOPBACK_REDIS": "true",
            "QUEUEWORKER_OPERATOR_METRICS_HOST": "10.0.0.7",
            "QUEUEWORKER_OPERATOR_METRICS_PORT": "9090",
            "QUEUEWORKER_OPERATOR_LOG_LEVEL": "debug",
            "QUEUEWORKER_OPERATOR_QUIET_SECONDS": "",
            "QUEUEWORKER_OPERATOR_POLLED_SECONDS": "3",
        }
    )
    assert settings.namespaces == ("jobs", "mail")
    assert settings.allow_loopback_redis
    assert (settings.metrics_host, settings.metrics_port) == ("10.0.0.7", 9090)
    assert (settings.log_level, settings.quiet_seconds, settings.polled_seconds) == ("DEBUG", 30.0, 3.0)


def test_options_stand_over_the_environment_and_none_is_no_option() -> None:
    settings = OperatorSettings.from_environment(
        {"QUEUEWORKER_OPERATOR_METRICS_PORT": "9090"}, metrics_port=1234, namespaces=("a",), metrics_host=None
    )
    assert (settings.metrics_port, settings.namespaces, settings.metrics_host) == (1234, ("a",), "0.0.0.0")


@pytest.mark.parametrize(("name", "value"), [("METRICS_PORT", "x"), ("BUSY_SECONDS", "0"), ("LOG_FORMAT", "xml")])
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"QUEUEWORKER_OPERATOR_{name}, or its option: "):
        OperatorSettings.from_environment({f"QUEUEWORKER_OPERATOR_{name}": value})


@pytest.mark.parametrize("namespaces", ["BAD NS", "jobs,Mail", "-jobs", "jobs.mail", "j" * 64])
def test_what_is_no_name_of_a_namespace_is_refused(namespaces: str) -> None:
    wrong = namespaces.split(",")[-1]
    told = f"QUEUEWORKER_OPERATOR_NAMESPACES, or its option: '{wrong}' is no name of a namespace: "
    with pytest.raises(SettingsError) as environment:
        OperatorSettings.from_environment({"QUEUEWORKER_OPERATOR_NAMESPACES": namespaces})
    with pytest.raises(SettingsError) as option:
        OperatorSettings.from_environment({}, namespaces=("jobs", wrong))
    assert str(environment.value).startswith(told)
    assert str(option.value) == str(environment.value)


def test_an_empty_option_names_no_namespace() -> None:
    # A variable of a script that is not set: all namespaces would be a guess.
    with pytest.raises(SettingsError, match="'' is no name of a namespace"):
        OperatorSettings.from_environment({}, namespaces=("",))


def test_a_log_line_as_json_is_one_object_with_the_exception() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord("operator", logging.ERROR, __file__, 1, "a %s", ("b",), sys.exc_info())
    entry = json.loads(logs.JsonFormatter().format(record))
    assert (entry["level"], entry["logger"], entry["message"]) == ("ERROR", "operator", "a b")
    assert "ValueError: two\nlines" in entry["exception"]
