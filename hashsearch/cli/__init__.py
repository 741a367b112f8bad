"""The command line: each command parses, makes one library call, and prints.

What is heavy is imported inside the command that needs it, so `--help` answers at once
and `query` never loads torch. Results go to standard output, everything else to standard
error.
"""

from __future__ import annotations

import io
import sys
import warnings
from typing import TYPE_CHECKING, NoReturn

import click

from hashsearch import __version__
from hashsearch.cli.bench import bench
from hashsearch.cli.building import add, build_index
from hashsearch.cli.common import examples
from hashsearch.cli.duplicates import duplicates
from hashsearch.cli.galleries import compact, export, info, remove, shard, verify
from hashsearch.cli.inspection import inspect
from hashsearch.cli.search import query
from hashsearch.cli.serve import serve
from hashsearch.cli.train import train
from hashsearch.errors import HashsearchError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cli", "main"]


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit status.

    0: done; 1: an error of input or state, told in one line; 2: wrong usage.

    Args:
        args: instead of those of the process.
    """
    # What Pillow thinks of an image's metadata is of no use to whoever searches with it.
    warnings.filterwarnings("ignore", module="PIL")
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal cannot show is escaped; it is no reason to stop.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = cli.main(args, prog_name="hashsearch", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "hashsearch"
        _fail(f"{error.format_message()} (see `{command} --help`)", status=2)
    # An OSError is the machine's: a full disk, a working folder that was removed.
    except (HashsearchError, click.ClickException, OSError) as error:
        _fail(str(error), status=1)
    except MemoryError:
        _fail("this needs more memory than there is; do it with fewer items at once", status=1)
    except (click.Abort, KeyboardInterrupt):
        click.echo(
            "Stopped; nothing is half-written. The same command goes on after the last batch of a "
            "build, or the last epoch of a training, that was done.",
            err=True,
        )
        sys.exit(1)


def _fail(message: str, *, status: int) -> NoReturn:
    from hashsearch.console import printable

    click.echo(f"Error: {printable(message)}", err=True)
    sys.exit(status)


@click.group(
    no_args_is_help=False,
    invoke_without_command=True,
    epilog=examples("hashsearch build-index", "hashsearch query img.jpg"),
)
@click.pass_context
@click.version_option(__version__, prog_name="hashsearch")
def cli(context: click.Context) -> None:
    """Find fashion items by photo: exact Hamming search over learned binary codes."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in (
    build_index,
    query,
    duplicates,
    inspect,
    serve,
    bench,
    train,
    add,
    remove,
    compact,
    shard,
    export,
    info,
    verify,
):
    cli.add_command(_command)
