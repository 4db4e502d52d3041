"""The settings that are in force: layers, changes at run time, and the file they are kept in."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any, Literal

from ..errors import SettingsError
from . import _yaml
from ._environment import PROFILE, from_environment, variable
from ._layers import Layer, Layers, nearest, nest
from ._plain import holds_secret, plain, unmask
from ._tree import Settings
from ._validation import LEAVES, Validation, canonical, check

__all__ = ["Explanation", "OnChange", "SettingsStore", "SettingsUpdate"]

_log = logging.getLogger(__name__)

OnChange = Callable[[Settings, Settings, tuple[str, ...]], None]
"""Told of the settings before and after a change, and of the paths that changed."""


@dataclass(frozen=True, slots=True)
class SettingsUpdate:
    """What became of a change.

    Attributes:
        updated_keys: Paths whose value in force is another one now.
        requires_restart: Those of them that count only once engines or the server start again.
        applied_immediately: The others.
        warnings: What is odd about the settings now, by path.
    """

    updated_keys: tuple[str, ...]
    requires_restart: tuple[str, ...]
    applied_immediately: tuple[str, ...]
    warnings: Mapping[str, str] = field(default_factory=dict)

    @property
    def restart_required(self) -> bool:
        return bool(self.requires_restart)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where the value in force of one option comes from. Secrets are asterisks.

    Attributes:
        source: The file or the variable; None for a default, or a change at run time.
        hides: Weaker layers that have a value too, the strongest first.
    """

    path: str
    value: Any
    layer: Layer | Literal["default"]
    source: str | None = None
    hides: tuple[Layer, ...] = ()


@dataclass(frozen=True, slots=True)
class _State:
    """All that is in force, swapped as one."""

    layers: Layers
    settings: Settings
    warnings: Mapping[str, str]


class SettingsStore:
    """Settings from a file, a profile, the environment and changes at run time.

    The strongest of these that has a value counts: run time, then environment, profile, file,
    and the default. Any thread may use a store. Changes go one after the other, each checked
    before anything changes; `current` is read without waiting, and a value of it never changes.

    Args:
        path: A YAML file; it need not be there. None keeps to the other layers.
        profile: Names a second file beside it, ``NAME.PROFILE.yaml``, which must be there.
            By default the one in ``REALTIME_STTS_PROFILE``, if any.
        environ: Read now, and at each `reload`.

    Raises:
        SettingsError: What is there cannot be used: by path, with the layer it came from.
            Files are left as they are.
        OSError: A file cannot be read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        profile: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.path = None if path is None else Path(path)
        self._environ = os.environ if environ is None else environ
        self._asked_profile = profile
        self._lock = RLock()  # of changes
        self._callbacks: dict[object, OnChange] = {}
        self._rewrite = False  # whether `save` forgets what its file holds
        self._state = self._loaded(Layers())

    # -- reading -------------------------------------------------------------------------

    @property
    def current(self) -> Settings:
        """The settings in force."""
        return self._state.settings

    @property
    def warnings(self) -> Mapping[str, str]:
        """What is odd about them, by path or variable."""
        return self._state.warnings

    @property
    def profile(self) -> str | None:
        """The profile in force."""
        if self.path is None:
            return None
        return self._asked_profile or self._environ.get(PROFILE) or None

    @property
    def saves_to(self) -> Path | None:
        """The file that `save` writes: the profile's, if there is one."""
        if self.path is None or self.profile is None:
            return self.path
        return self._profile_path(self.path, self.profile)

    def explain(self, path: str) -> Explanation:
        """Where the value of an option comes from.

        Raises:
            SettingsError: There is no such option.
        """
        if path not in LEAVES:
            close = nearest(path, LEAVES)
            hint = f"; is {close} meant?" if close else ""
            raise SettingsError({path: f"there is no such setting{hint}"})
        state = self._state
        value = plain(_at(state.settings, path), secrets=False)
        strongest, *hides = (*state.layers.holding(path), None)
        if strongest is None:
            return Explanation(path, value, "default")
        return Explanation(
            path, value, strongest, self._source(strongest, path), tuple(filter(None, hides))
        )

    # -- changing ------------------------------------------------------------------------

    def update(self, changes: Mapping[str, Any]) -> SettingsUpdate:
        """Change options until the next start, or for good with `save`.

        Args:
            changes: A tree, or paths: ``{"server.port": 8004, "ui": {"theme": "light"}}``.
                Asterisks for a secret, as `Settings.masked` shows it, leave it as it is.

        Raises:
            SettingsError: Something in it cannot be used; nothing has changed.
        """
        with self._lock:
            layers = self._state.layers
            flat, warnings = canonical(changes)
            for path in flat.keys() & LEAVES.keys():
                value = _at(self._state.settings, path)
                if holds_secret(value):
                    flat[path] = unmask(flat[path], plain(value))
            layers = layers.having("runtime", {**layers["runtime"], **flat})
            found = self._check(layers)
            settings = found.checked()
            # As it was understood: "8004" becomes 8004 in the file too.
            values = {path: plain(_at(settings, path)) for path in layers["runtime"]}
            return self._swap(
                _State(layers.having("runtime", values), settings, found.warnings), warnings
            )

    def reset(self) -> SettingsUpdate:
        """Forget changes at run time and what the file of `save` holds.

        The file itself stays until the next `save`. The environment, and under a profile the
        first file, stay in force.
        """
        with self._lock:
            target: Layer = "file" if self.profile is None else "profile"
            layers = self._state.layers.having("runtime", {}).having(target, {})
            found = self._check(layers)
            update = self._swap(_State(layers, found.checked(), found.warnings))
            self._rewrite = True
            return update

    def reload(self) -> SettingsUpdate:
        """Read the files and the environment again; changes at run time stay.

        Raises:
            SettingsError: They cannot be used; what was in force still is.
            OSError: A file cannot be read; likewise.
        """
        with self._lock:
            state = self._loaded(self._state.layers)
            self._rewrite = False
            return self._swap(state)

    def save(self) -> tuple[str, ...]:
        """Write changes at run time into the file, which keeps what else is in it now.

        Values of the environment are not written, nor defaults. Comments are lost; what the
        file held is kept in ``NAME.bak``. The file is whole at every moment. What is in
        force stays, but for what others have changed in the file since it was read.

        Returns:
            Paths that an environment variable will hide at the next start.

        Raises:
            SettingsError: The file has been broken since it was read, or does not go together
                with the changes; it is left as it is.
            OSError: It cannot be written; likewise.
            ValueError: The store has no file.
        """
        with self._lock:
            target = self.saves_to
            if target is None:
                raise ValueError("the store has no file to save to: give it a path")
            layers = self._state.layers
            kept = {} if self._rewrite else canonical(_yaml.read(target) or {})[0]
            values = {**kept, **layers["runtime"]}
            layer: Layer = "file" if self.profile is None else "profile"
            hidden = layers["runtime"].keys() & layers["environment"].keys()
            stay = {path: layers["runtime"][path] for path in hidden}
            layers = layers.having(layer, values).having("runtime", stay)
            found = self._check(layers)
            settings = found.checked()
            _yaml.write(target, _yaml.dump(nest(_in_order(values))))
            self._rewrite = False
            self._swap(_State(layers, settings, found.warnings))
            return tuple(sorted(hidden))

    def on_change(self, callback: OnChange) -> Callable[[], None]:
        """Call ``callback`` after each change, in the thread that made it.

        The next change waits for it, unless it makes that change itself. What it raises is
        logged, and hinders nobody.

        Returns:
            A function that ends this.
        """
        key = object()
        with self._lock:
            self._callbacks[key] = callback

        def end() -> None:
            with self._lock:
                self._callbacks.pop(key, None)

        return end

    # -- inside --------------------------------------------------------------------------

    def _loaded(self, layers: Layers) -> _State:
        warnings: dict[str, str] = {}
        for layer, values in self._files().items():
            flat, odd = canonical(values)
            warnings |= odd
            layers = layers.having(layer, flat)
        read = from_environment(self._environ, LEAVES)
        layers = layers.having("environment", read.values)
        found = self._check(layers)
        if problems := {**found.errors, **read.problems}:
            raise SettingsError(problems)
        warnings |= read.warnings
        return _State(layers, found.checked(), {**warnings, **found.warnings})

    def _files(self) -> dict[Layer, dict[str, Any]]:
        files: dict[Layer, dict[str, Any]] = {"file": {}, "profile": {}}
        if self.path is None:
            return files
        files["file"] = _yaml.read(self.path) or {}
        if self.profile is not None:
            path = self._profile_path(self.path, self.profile)
            values = _yaml.read(path)
            if values is None:
                raise SettingsError({f"profile {self.profile}": f"there is no file {path}"})
            files["profile"] = values
        return files

    @staticmethod
    def _profile_path(path: Path, profile: str) -> Path:
        if not profile.replace("-", "").replace("_", "").isalnum():
            raise SettingsError({"profile": "is a word: letters, digits, - and _"})
        return path.with_name(f"{path.stem}.{profile}{path.suffix or '.yaml'}")

    def _check(self, layers: Layers) -> Validation:
        def source(path: str) -> str | None:
            while path:
                if holding := layers.holding(path):
                    return self._source(holding[0], path) or "a change at run time"
                path = path.rpartition(".")[0]  # of what is wrong within an option
            return None

        return check(layers.merged(), source)

    def _source(self, layer: Layer, path: str) -> str | None:
        sources: dict[Layer, str] = {
            "environment": variable(path),
            "profile": str(self.saves_to),
            "file": str(self.path),
        }
        return sources.get(layer)

    def _swap(self, new: _State, warnings: Mapping[str, str] | None = None) -> SettingsUpdate:
        old, self._state = self._state, new
        changed = tuple(
            path for path in LEAVES if _at(old.settings, path) != _at(new.settings, path)
        )
        if changed:
            for callback in [*self._callbacks.values()]:
                try:
                    callback(old.settings, new.settings, changed)
                except Exception:  # noqa: BLE001, PERF203 - a listener may fail in any way
                    _log.error("a listener to changes of the settings failed", exc_info=True)
        return SettingsUpdate(
            changed,
            tuple(path for path in changed if LEAVES[path].restart),
            tuple(path for path in changed if not LEAVES[path].restart),
            {**(warnings or {}), **new.warnings},
        )


def _at(settings: Settings, path: str) -> Any:
    value: Any = settings
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _in_order(values: Mapping[str, Any]) -> dict[str, Any]:
    """As the tree has them: a file is easiest to read so."""
    return {path: values[path] for path in LEAVES if path in values}
