"""Where the database is, and that nothing says its password."""

import pytest

from queueworker.errors import SettingsError
from queueworker_processors.storage import address, database_url, pool_size, unreachable


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_any_name_of_postgresql_is_accepted(scheme: str) -> None:
    url = database_url({"DATABASE_URL": f"{scheme}://user:p%40ss@db.example:5433/killboard?sslmode=require"})

    assert (url.drivername, url.password, url.query["sslmode"]) == ("postgresql", "p@ss", "require")
    assert address(url) == "db.example:5433/killboard"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not set"),
        ("hunter2", "is no URL"),
        ("postgresql://user:hunter2@host:port/db", "is no URL"),
        ("mysql://user:hunter2@host/db", "begins with mysql://"),
    ],
)
def test_wrong_urls_are_refused_without_being_repeated(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        database_url({"DATABASE_URL": text})

    assert "hunter2" not in str(caught.value)


def test_an_unreachable_database_is_named_without_its_password() -> None:
    url = database_url({"DATABASE_URL": "postgresql://user:hunter2@db.example/killboard"})

    said = str(unreachable(url, OSError("connection refused")))

    assert said == "PostgreSQL at db.example:5432/killboard cannot be used: OSError: connection refused"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 10),
        ({"DATABASE_POOL_SIZE": "3"}, 3),
        ({"QUEUEWORKER_QUEUES": '[{"name": "a", "concurrency": 4}, {"name": "b"}]'}, 5),
        ({"QUEUEWORKER_QUEUES": '[{"name": "a", "concurrency": 4000}]'}, 100),
        ({"QUEUEWORKER_QUEUES": "killmail"}, 10),
        ({"QUEUEWORKER_QUEUES": '[{"name": "a", "concurrency": 4}]', "DATABASE_POOL_SIZE": "2"}, 2),
    ],
)
def test_the_pool_has_a_connection_for_each_slot(environment: dict[str, str], expected: int) -> None:
    assert pool_size(environment) == expected


@pytest.mark.parametrize("text", ["0", "-1", "many", "101"])
def test_a_wrong_pool_size_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="DATABASE_POOL_SIZE"):
        pool_size({"DATABASE_POOL_SIZE": text})
