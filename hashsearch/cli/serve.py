"""The command that serves galleries over HTTP."""

from __future__ import annotations

import math
import re
from functools import partial
from typing import TYPE_CHECKING

import click

from hashsearch.cli.common import encoder_option, examples, extra, given, indexes_option, refuse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hashsearch.gallery import Gallery

__all__ = ["serve"]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")  # as requests have them

# As browsers send them: a name without scheme, port or path, and an origin without path.
_NAME = re.compile(r"\*|(\*\.)?[\w-]+(\.[\w-]+)*|\[[0-9a-f:.]+\]", re.ASCII | re.IGNORECASE)
_ORIGIN = re.compile(
    r"\*|[a-z][a-z0-9+.-]*://([\w-]+(\.[\w-]+)*|\[[0-9a-f:.]+\])(:\d+)?",
    re.ASCII | re.IGNORECASE,
)
_DEFAULT_PORT = re.compile(r"http://.*:80|https://.*:443", re.IGNORECASE)


def _finite(_: click.Context, __: click.Parameter, seconds: float) -> float:
    if math.isnan(seconds):  # which no range leaves out
        raise click.BadParameter("nan is no number of seconds")
    return seconds


def _check_names(hosts: tuple[str, ...], origins: tuple[str, ...]) -> None:
    """Refuse what no request could ever match."""
    for name in hosts:
        if not _NAME.fullmatch(name):
            raise click.UsageError(
                f"--allow-host takes a name, *.NAME or *, not {name!r}; leave out scheme, port "
                "and path, as in shop.example"
            )
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise click.UsageError(
                f"--cors takes scheme and name, not {origin!r}; write it as https://shop.example"
            )
        if _DEFAULT_PORT.fullmatch(origin):
            raise click.UsageError(
                f"--cors {origin}: browsers leave out the usual port; write it as "
                f"{origin.rpartition(':')[0]}"
            )


@click.command(
    short_help="Search galleries in the browser and over HTTP.",
    epilog=examples(
        "hashsearch serve --open",
        "hashsearch serve shop --host 0.0.0.0 --port 8080 --queue 64",
        "hashsearch serve shop.shards --ray --replicas 2",
    ),
)
@click.argument("galleries", nargs=-1, metavar="[GALLERY]...")
@indexes_option
@encoder_option
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; 0.0.0.0: whatever reaches this machine.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="0: one that is free.",
)
@click.option("--open", "open_browser", is_flag=True, help="Open the page in the browser.")
@click.option(
    "--api-key",
    envvar="HASHSEARCH_API_KEY",
    show_envvar=True,
    help="Answer only who sends it. Everyone on this machine can read what stands on a command "
    "line; the environment is better.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="Answer to this name too, as behind a proxy; may be repeated; `*`: to any [default: on "
    "this machine's own addresses to those alone, else to any].",
)
@click.option(
    "--cors",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="Let pages of this site ask, as https://shop.example; may be repeated.",
)
@click.option(
    "--max-upload",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="MiB of a request.",
)
@click.option(
    "--max-pixels",
    type=click.IntRange(1, 89),
    default=50,
    show_default=True,
    help="Million pixels of an image.",
)
@click.option(
    "--queue",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="Requests at once; further ones are told to try again.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 3600),
    callback=_finite,
    default=30,
    show_default=True,
    help="Seconds for a request to arrive and to be answered.",
)
@click.option(
    "--ray",
    "by_ray",
    is_flag=True,
    help="Let the shards lie with processes of a Ray cluster: that of RAY_ADDRESS, or of this "
    "machine.",
)
@click.option(
    "--replicas",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="For --ray, processes that hold each shard.",
)
@click.option(
    "--partial-ok",
    is_flag=True,
    help="For --ray, answer without shards that give no answer for half of --timeout, and name "
    "them [default: that is an error].",
)
def serve(
    *,
    galleries: tuple[str, ...],
    indexes: Path,
    encoder: str | None,
    host: str,
    port: int,
    open_browser: bool,
    api_key: str | None,
    hosts: tuple[str, ...],
    origins: tuple[str, ...],
    max_upload: int,
    max_pixels: int,
    queue: int,
    timeout: float,
    by_ray: bool,
    replicas: int,
    partial_ok: bool,
) -> None:
    """Serve galleries: a page to search them with, and an HTTP interface (/openapi.json).

    GALLERY names a gallery in the folder of galleries, or the path of its file or of its folder of
    shards; without one, all files that lie in the folder are served. A gallery that is written anew
    meanwhile is served anew.
    """
    import logging
    import webbrowser

    from hashsearch import console
    from hashsearch.gallery import Gallery
    from hashsearch.places import find_gallery, load_encoder

    with extra("serve"):
        from hashsearch.serve import (
            Encoders,
            Limits,
            Shelf,
            address,
            create_app,
            listen,
            network_address,
            run,
        )

    if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key):
        raise click.UsageError("--api-key takes letters, digits and signs of ASCII, at least one")
    if by_ray and not galleries:
        raise click.UsageError("--ray is for galleries in shards; name one")
    if not by_ray:
        refuse(given(replicas=replicas, partial_ok=partial_ok), "without --ray")
    _check_names(hosts, origins)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    limits = Limits(
        upload_bytes=max_upload << 20,
        pixels=max_pixels * 1_000_000,
        requests=queue,
        held_bytes=max(Limits.held_bytes, max_upload << 20),
        seconds=timeout,
    )
    chosen = Encoders(load_encoder(encoder, threads=1) if encoder else None)
    paths = [find_gallery(name, indexes) for name in galleries] or None
    listening = listen(host, port)
    is_local = host in _LOOPBACK
    opening: Callable[[Path], Gallery] = Gallery.open
    if by_ray:
        opening = _with_ray(replicas=replicas, deadline=timeout / 2, partial_ok=partial_ok)
    shelf = Shelf(paths, indexes, chosen, open_gallery=opening)
    names = [*map(str.lower, hosts), *(_LOOPBACK_NAMES if is_local else () if hosts else ("*",))]
    app = create_app(shelf, limits, key=api_key, hosts=names, origins=[*map(str.lower, origins)])
    served = ", ".join(generation.name for generation in shelf) or f"no gallery in {indexes} yet"
    click.echo(console.printable(f"Serving {served} at {address(listening)} (Ctrl-C stops it)"))
    reached = network_address(listening)
    if reached is not None:
        click.echo(f"From other machines and phones of this network: {reached}")
    if not is_local and api_key is None:
        click.echo("Whoever reaches this address can search; --api-key keeps others out.", err=True)
    if open_browser:
        webbrowser.open(address(listening))
    run(app, listening, limits)


def _with_ray(*, replicas: int, deadline: float, partial_ok: bool) -> Callable[[Path], Gallery]:
    """What opens a gallery in shards with processes of the Ray cluster that it joins."""
    with extra("ray"):
        from hashsearch.cluster.connection import join_cluster
        from hashsearch.cluster.search import RayGallery
    join_cluster()
    return partial(RayGallery.open, replicas=replicas, deadline=deadline, partial_ok=partial_ok)
