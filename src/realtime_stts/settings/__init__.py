"""Typed settings, from a file, a profile, the environment and changes at run time."""

from ._env_provider import EnvConfigurationProvider, load_env_file
from ._providers import (
    DictConfigurationProvider,
    SettingsProvider,
    YAMLConfigurationProvider,
    create_default_config,
    create_test_config,
)
from ._schema import json_schema
from ._store import Explanation, SettingsStore, SettingsUpdate
from ._tree import Settings
from ._validation import Validation, validate

__all__ = [
    "DictConfigurationProvider",
    "EnvConfigurationProvider",
    "Explanation",
    "Settings",
    "SettingsProvider",
    "SettingsStore",
    "SettingsUpdate",
    "Validation",
    "YAMLConfigurationProvider",
    "create_default_config",
    "create_test_config",
    "json_schema",
    "load_env_file",
    "validate",
]
