"""Plain async functions as a model's tools."""

from __future__ import annotations

import inspect
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_type_hints

import anyio
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic_core import to_json

from ..._failures import content_free
from ...protocols import ConversationContext
from ._answer import ToolCall

__all__ = ["ToolFunction", "Toolbox"]

ToolFunction = Callable[..., Awaitable[Any]]
"""An async function with annotated parameters; its docstring is what the model is told."""

_log = logging.getLogger(__name__)

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # of OpenAI's API
_MAX_RESULT: Final = 20_000  # characters of one result
_TAKEN: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class _Tool:
    name: str
    function: ToolFunction
    arguments: type[BaseModel]
    parameters: Mapping[str, str]  # by the names of the model's fields
    context: str | None  # the parameter that wants the conversation
    schema: dict[str, Any]

    def arguments_of(self, arguments: str, context: ConversationContext) -> dict[str, Any]:
        """What the function is called with.

        Raises:
            ValidationError: The arguments are not as the function has them.
        """
        checked = self.arguments.model_validate_json(arguments.strip() or "{}")
        given: dict[str, Any] = {
            parameter: getattr(checked, field)
            for field, parameter in self.parameters.items()
            if field in checked.model_fields_set
        }
        if self.context is not None:
            given[self.context] = context
        return given


class Toolbox:
    """The functions that a model may ask for.

    Args:
        functions: Async functions. Each parameter is annotated with what pydantic takes,
            perhaps ``Annotated[..., Field(description=...)]``; one annotated with
            `ConversationContext` gets the conversation, and the model does not see it.
        timeout: Seconds that a call may take.

    Raises:
        TypeError: One of them is no such function.
        ValueError: Two have one name, or the timeout is not over 0.
    """

    def __init__(self, functions: Sequence[ToolFunction], timeout: float) -> None:
        if not timeout > 0.0:
            raise ValueError(f"a tool has over 0 seconds, not {timeout}")
        self._timeout = timeout
        self._tools: dict[str, _Tool] = {}
        for function in functions:
            tool = _tool_of(function)
            if tool.name in self._tools:
                raise ValueError(f"two tools are called {tool.name!r}")
            self._tools[tool.name] = tool
        self.schemas = [tool.schema for tool in self._tools.values()]

    async def run(
        self, calls: Sequence[ToolCall], context: ConversationContext
    ) -> list[dict[str, Any]]:
        """The results as messages, in the order of the calls, which run at the same time.

        What goes wrong is told to the model as a result, without what it is made of, and
        logged without what was said.
        """
        results: dict[int, str] = {}

        async def run(number: int, call: ToolCall) -> None:
            results[number] = await self._result(call, context)

        async with anyio.create_task_group() as tasks:
            for number, call in enumerate(calls):
                tasks.start_soon(run, number, call)
        return [
            {"role": "tool", "tool_call_id": call.id, "content": results[number]}
            for number, call in enumerate(calls)
        ]

    async def _result(self, call: ToolCall, context: ConversationContext) -> str:
        tool = self._tools.get(call.name)
        if tool is None:
            return _error(f"There is no such tool; there are: {', '.join(self._tools) or 'none'}.")
        try:
            arguments = tool.arguments_of(call.arguments, context)
        except ValidationError as exc:
            return _error(f"These arguments cannot be used: {_problems(exc)}")
        try:
            with anyio.move_on_after(self._timeout):
                result = _text_of(await tool.function(**arguments))
                return result if len(result) <= _MAX_RESULT else f"{result[:_MAX_RESULT]} [cut]"
        except Exception as exc:  # noqa: BLE001 - the answer goes on without it
            _log.error("the tool %s failed", tool.name, exc_info=content_free(exc))
            return _error("The tool failed.")
        _log.warning("the tool %s took longer than %g s", tool.name, self._timeout)
        return _error("The tool did not answer in time.")


def _text_of(result: object) -> str:
    return result if isinstance(result, str) else to_json(result).decode()


def _error(message: str) -> str:
    return json.dumps({"error": message})


def _problems(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, each['loc'])) or 'arguments'}: {each['msg']}"
        for each in error.errors(include_url=False, include_context=False, include_input=False)
    )


def _tool_of(function: ToolFunction) -> _Tool:
    name = getattr(function, "__name__", "")
    if not inspect.iscoroutinefunction(function) or not _NAME.fullmatch(name):
        raise TypeError(f"a tool is an async function with a plain name, not {function!r}")
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as exc:
        raise TypeError(f"the tool {name}: its annotations cannot be read: {exc}") from exc
    context: str | None = None
    fields: dict[str, Any] = {}
    parameters: dict[str, str] = {}
    for number, parameter in enumerate(inspect.signature(function).parameters.values()):
        if parameter.kind not in _TAKEN:
            raise TypeError(f"the tool {name} has {parameter}, for which a model has no name")
        if parameter.name not in hints:
            raise TypeError(f"the tool {name}: its parameter {parameter.name} has no annotation")
        if hints[parameter.name] is ConversationContext:
            context = parameter.name
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        # A model's own names (copy, json) are no fields: the parameter's is an alias.
        field = f"argument_{number}"
        parameters[field] = parameter.name
        fields[field] = (hints[parameter.name], Field(default, alias=parameter.name))
    try:
        model: type[BaseModel] = create_model(
            f"{name} arguments", __config__=ConfigDict(extra="forbid"), **fields
        )
        schema = _plain(model.model_json_schema())
    except (PydanticUserError, TypeError) as exc:
        raise TypeError(f"the tool {name}: a parameter is of a kind without JSON: {exc}") from exc
    described: dict[str, Any] = {"name": name, "parameters": schema}
    if doc := inspect.getdoc(function):
        described["description"] = doc
    return _Tool(
        name, function, model, parameters, context, {"type": "function", "function": described}
    )


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Without the titles that pydantic makes of names, which only cost tokens."""
    schema.pop("title", None)
    for each in schema.get("properties", {}).values():
        each.pop("title", None)
    return schema
