"""What all commands share: how errors end them, how plugins are loaded, how JSON and tables are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from .. import __version__
from ..errors import ExitCode, ExperimentError, Fault, MobiproxError

if TYPE_CHECKING:
    from ..plugins import Registry

JSON_SCHEMA = 1
"""The number that every object of --json carries; it rises when a key changes its meaning."""


class Commands(click.Group):
    """A group whose errors are ours: one ``error:`` line each, the mend below it, the exit code by class."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
        except MobiproxError as error:
            _print_error(error)
            code = error.exit_code
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            code = ExitCode.USAGE
        except click.ClickException as error:
            _print_usage(error)
            code = ExitCode.USAGE
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted", err=True)
            code = ExitCode.INTERRUPTED
        except Exception as error:
            _print_bug(error)
            code = ExitCode.BUG
        sys.exit(code if isinstance(code, int) else ExitCode.DONE)


def _print_error(error: MobiproxError) -> None:
    faults = error.faults if isinstance(error, ExperimentError) else (Fault(error.where or "", error.what, error.mend),)
    for fault in faults:
        click.echo(f"error: {fault.where}: {fault.what}" if fault.where else f"error: {fault.what}", err=True)
        if fault.mend:
            click.echo("  " + fault.mend.replace("\n", "\n  "), err=True)


def _print_usage(error: click.ClickException) -> None:
    message = error.format_message().rstrip(".")
    click.echo(f"error: {message[:1].lower()}{message[1:]}", err=True)
    context = getattr(error, "ctx", None)
    if context is not None:
        click.echo(f"  see '{context.command_path} --help'", err=True)


def _print_bug(error: Exception) -> None:
    """Our fault, not the user's: a short message, and the traceback in a file that can be sent."""
    import platform
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="mobiprox-bug-", suffix=".txt", delete=False, encoding="utf-8") as file:
        file.write(f"mobiprox {__version__}, Python {platform.python_version()}, {platform.platform()}\n{' '.join(sys.argv)}\n\n")
        file.write("".join(traceback.format_exception(error)))
    click.echo(f"error: a bug in Mobiprox or in a plugin: {type(error).__name__}: {error}", err=True)
    click.echo(f"  please report it with the traceback, which is in {file.name}", err=True)


def load_plugins(*, warn: bool = True) -> Registry:
    """The installed plugins; broken ones are named on stderr."""
    from .. import plugins

    registry = plugins.load()
    if warn:
        for problem in registry.problems:
            click.echo(f"warning: {problem}", err=True)
        for plugin in registry.plugins:
            for warning in plugin.warnings:
                click.echo(f"warning: {plugin}: {warning}", err=True)
    return registry


def print_json(value: Mapping[str, Any]) -> None:
    click.echo(json.dumps({"schema": JSON_SCHEMA, **value}, indent=2, ensure_ascii=False))


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="mobiprox", prog_name="mobiprox")
def main() -> None:
    """One trained network that glides between accuracy and cost at run time.

    \b
    Example:
      mobiprox run examples/digits/experiment.yaml --out runs/digits
    """


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: bool = False) -> None:
    rows = list(rows)
    if not rows:
        return
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        cells = (cell.ljust(width) if left else cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def or_dash(value: Any) -> str:
    return "-" if value is None else str(value)


def number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
