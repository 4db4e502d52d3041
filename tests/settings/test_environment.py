"""Variables of the environment: those that are settings, and those that look like it."""

from __future__ import annotations

import pytest

from realtime_stts.settings._environment import from_environment, variable
from realtime_stts.settings._section import Section, option, options


class Server(Section):
    port: int = option(8000, "Port.")
    hosts: tuple[str, ...] = option((), "Hosts.")
    words: frozenset[str] | None = option(None, "Words.")
    path: str | None = option(None, "Path.")
    tokens: dict[str, str] = option({}, "Tokens.")


class Root(Section):
    server: Server = option(Server(), "Server.")


OPTIONS = options(Root)


def values(**environ: str) -> dict[str, object]:
    read = from_environment({f"REALTIME_STTS_{k}": v for k, v in environ.items()}, OPTIONS)
    assert not read.problems
    assert not read.warnings
    return read.values


def test_a_path_in_capitals_with_two_underscores_for_each_dot() -> None:
    assert variable("conversation.policy.end_of_turn") == (
        "REALTIME_STTS_CONVERSATION__POLICY__END_OF_TURN"
    )


def test_text_is_left_to_validation() -> None:
    assert values(SERVER__PORT="8004") == {"server.port": "8004"}


@pytest.mark.parametrize("nothing", ["", " ", "null", "None"])
def test_none_where_an_option_may_be_none(nothing: str) -> None:
    assert values(SERVER__PATH=nothing, SERVER__WORDS=nothing) == {
        "server.path": None,
        "server.words": None,
    }
    assert values(SERVER__PORT=nothing) == {"server.port": nothing}


def test_a_list_is_json_or_has_commas() -> None:
    assert values(SERVER__HOSTS='["a", "b,c"]') == {"server.hosts": ["a", "b,c"]}
    assert values(SERVER__HOSTS="a, b,") == {"server.hosts": ["a", "b"]}
    assert values(SERVER__HOSTS="") == {"server.hosts": []}


def test_a_mapping_is_json() -> None:
    assert values(SERVER__TOKENS='{"a": "b"}') == {"server.tokens": {"a": "b"}}
    assert values(SERVER__TOKENS="") == {"server.tokens": {}}


@pytest.mark.parametrize("name", ["TOKENS", "HOSTS"])
def test_what_is_no_json_is_a_problem_that_does_not_quote_it(name: str) -> None:
    read = from_environment({f"REALTIME_STTS_SERVER__{name}": "[secret"}, OPTIONS)
    problem = read.problems[f"server.{name.lower()}"]
    assert f"REALTIME_STTS_SERVER__{name} is no JSON" in problem
    assert "secret" not in problem


def test_a_variable_that_looks_like_a_setting_is_warned_of() -> None:
    read = from_environment(
        {
            "REALTIME_STTS_SERVER__PROT": "1",
            "REALTIME_STTS_COLOUR__OF__HAIR": "red",
            "REALTIME_STTS_SERVER": "1",
        },
        OPTIONS,
    )
    assert read.values == {}
    assert read.warnings == {
        "REALTIME_STTS_SERVER__PROT": (
            "is no setting, and is ignored; is REALTIME_STTS_SERVER__PORT meant?"
        ),
        "REALTIME_STTS_COLOUR__OF__HAIR": "is no setting, and is ignored",
        "REALTIME_STTS_SERVER": "names a section; an option of it is REALTIME_STTS_SERVER__…",
    }


def test_other_variables_are_nobodys_business() -> None:
    others = {
        "REALTIME_STTS_HOME": "/srv",
        "REALTIME_STTS_PROFILE": "p",
        "PATH": "/bin",
        "A__B": "",
    }
    read = from_environment(others, OPTIONS)
    assert (read.values, read.warnings, read.problems) == ({}, {}, {})
