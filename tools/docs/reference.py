"""Pages of the reference that are made of the code: one for each public module."""

from __future__ import annotations

from .modules import Module, homes, public_modules

__all__ = ["module_page", "modules_table"]


def module_page(module: Module) -> str:
    """A page: the module's docstring, what it shows itself, and what it has from elsewhere."""
    own = [name for name in module.exports if homes()[name].module == module.name]
    others = [name for name in module.exports if homes()[name].module != module.name]
    short = module.name.removeprefix("realtime_stts.")
    heading = module.name.replace(".", ".<wbr>")  # where a narrow screen may break it
    lines = ["---", f"title: {short}", "---", "", f"# {heading}", ""]
    lines += [f"::: {module.name}", "    options:"]
    if own:
        lines += ["      members:", *(f"        - {name}" for name in own)]
    else:
        lines += ["      members: false"]
    if others:
        what = "Also from here" if own else "What it exports"
        lines += ["", f"## {what}", "", "| name | from | |", "|---|---|---|"]
        lines += [_row(name) for name in others]
    return "\n".join(lines) + "\n"


def modules_table() -> str:
    """The modules, each with what it is for."""
    rows = [
        f"| [`{module.name}`]({module.page.removeprefix('reference/')}) | {_cell(module.summary)} |"
        for module in public_modules()
    ]
    return "\n".join(["| module | |", "|---|---|", *rows])


def _row(name: str) -> str:
    home = homes()[name]
    module = home.module.removeprefix("realtime_stts.")
    return f"| [`{name}`][{home.path}] | `{module}` | {_cell(home.summary)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("``", "`")
