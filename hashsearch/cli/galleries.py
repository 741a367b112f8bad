"""Commands that say what is in a gallery, take from it, and write it for others."""

from __future__ import annotations

from pathlib import Path

import click

from hashsearch.cli.common import (
    examples,
    gallery_option,
    indexes_option,
    json_option,
    open_gallery,
    print_json,
    tell_change,
)

__all__ = ["compact", "export", "info", "remove", "shard", "verify"]


@click.command(
    short_help="Remove items from a gallery.",
    epilog=examples(
        "hashsearch remove Dress/7.png --gallery shop",
        "hashsearch remove --ids-file sold.txt --ignore-missing --gallery shop",
    ),
)
@click.argument("ids", nargs=-1)
@click.option(
    "--ids-file",
    type=click.Path(path_type=Path),
    help="A file of further ids, one a line.",
)
@click.option(
    "--ignore-missing", is_flag=True, help="Pass over ids that the gallery does not have."
)
@gallery_option
@indexes_option
@json_option
def remove(
    *,
    ids: tuple[str, ...],
    ids_file: Path | None,
    ignore_missing: bool,
    gallery: str | None,
    indexes: Path,
    as_json: bool,
) -> None:
    """Remove the items IDS from a gallery: all of them, or none if one is not there.

    An update by `hashsearch build-index --update` brings them back if their images are still there.
    """
    from hashsearch.datasets.ids import read_ids
    from hashsearch.gallery import changing
    from hashsearch.places import find_gallery

    unwanted = list(dict.fromkeys([*ids, *(read_ids(ids_file) if ids_file else [])]))
    if not unwanted:
        raise click.UsageError("give ids, or a file of them with --ids-file")
    path = find_gallery(gallery, indexes)
    with changing(path) as (opened, writer):
        if ignore_missing:
            unwanted = opened.ids(opened.content.rows_of(unwanted, strict=False))
        changed = opened.without(unwanted)
        writer.write(changed.indexed(opened.chosen_indexes))
    tell_change(path, opened, changed, {"removed": len(unwanted)}, as_json=as_json)


@click.command(
    short_help="Write a gallery anew, in less space.",
    epilog=examples("hashsearch compact --gallery shop"),
)
@gallery_option
@indexes_option
@json_option
def compact(*, gallery: str | None, indexes: Path, as_json: bool) -> None:
    """Write a gallery anew without the space that removed items left behind.

    That is where the longest ids and paths were theirs.
    """
    from hashsearch import console
    from hashsearch.gallery import changing
    from hashsearch.places import find_gallery

    path = find_gallery(gallery, indexes)
    with changing(path) as (opened, writer):
        writer.write(opened.compacted().indexed(opened.chosen_indexes))
    before, after = opened.content.file_bytes, path.stat().st_size
    if as_json:
        print_json({"gallery": str(path), "bytes_before": before, "bytes": after})
    else:
        click.echo(console.printable(f"{path}: {before:,} bytes before, {after:,} now."))


@click.command(
    short_help="Write codes, ids and labels for other programs.",
    epilog=examples(
        "hashsearch export shop.parquet --gallery shop",
        "hashsearch export shop/ && hashsearch build-index --codes shop/ --name again",
    ),
)
@click.argument("out", type=click.Path(path_type=Path))
@gallery_option
@indexes_option
@json_option
def export(*, out: Path, gallery: str | None, indexes: Path, as_json: bool) -> None:
    """Write codes, ids, labels and paths of a gallery to OUT.

    OUT is a file that ends in .parquet, else a folder for .npy files. `hashsearch
    build-index --codes OUT` makes a gallery of it again.
    """
    from hashsearch import console
    from hashsearch.gallery import export_gallery

    opened = open_gallery(gallery, indexes)
    files = export_gallery(opened, out)
    if as_json:
        print_json({"items": len(opened), "files": [str(file) for file in files]})
    else:
        listed = ", ".join(str(file) for file in files)
        click.echo(console.printable(f"{len(opened):,} items: {listed}"))


@click.command(
    short_help="Part a gallery into several files, for several machines.",
    epilog=examples(
        "hashsearch shard shop --shards 4",
        "hashsearch shard shop fashion-mnist --name both",
    ),
)
@click.argument("galleries", nargs=-1, required=True, metavar="GALLERY...")
@click.option(
    "--shards",
    type=click.IntRange(min=1),
    help="Deal all items into so many files of one size [default: each gallery is a shard as it "
    "is].",
)
@click.option(
    "--name",
    help="Of the new gallery, NAME.shards in the folder of galleries, or path of a folder that "
    "ends in .shards [default: that of the one gallery].",
)
@indexes_option
@json_option
def shard(
    *,
    galleries: tuple[str, ...],
    shards: int | None,
    name: str | None,
    indexes: Path,
    as_json: bool,
) -> None:
    """Make a sharded gallery of the galleries GALLERY, which stay as they are.

    It is a folder with a manifest and one gallery file a shard, and answers as one file with all
    the items would. Its items must have codes of one encoder and different ids.
    """
    from hashsearch import console
    from hashsearch.gallery import write_shards
    from hashsearch.places import find_gallery, shards_path

    if name is None and len(galleries) > 1:
        raise click.UsageError("several galleries have several names; name theirs with --name")
    opened = [open_gallery(each, indexes) for each in galleries]
    folder = shards_path(name or find_gallery(galleries[0], indexes).stem, indexes)
    with console.progress("writing shards", sum(map(len, opened))) as advance:
        written = write_shards(opened, folder, shards, on_progress=advance)
    items = [len(each) for each in written.shards]
    if as_json:
        by_file = dict(zip(written.shard_names, items, strict=True))
        print_json({"gallery": str(folder), "items": len(written), "shards": by_file})
    else:
        text = (
            f"{folder}: {len(written):,} items in {len(items):,} shards, of {min(items):,} to "
            f"{max(items):,}."
        )
        click.echo(console.printable(text))


@click.command(epilog=examples("hashsearch info", "hashsearch info --gallery shop --json"))
@gallery_option
@indexes_option
@json_option
def info(gallery: str | None, indexes: Path, as_json: bool) -> None:
    """Say what a gallery holds."""
    from hashsearch import console

    facts = open_gallery(gallery, indexes).info()
    if as_json:
        print_json(facts)
    else:
        console.print_facts(facts)


@click.command(epilog=examples("hashsearch verify --gallery shop"))
@gallery_option
@indexes_option
@json_option
def verify(gallery: str | None, indexes: Path, as_json: bool) -> None:
    """Check every byte of a gallery, of all its shards, against its checksums."""
    from hashsearch import console
    from hashsearch import gallery as galleries
    from hashsearch.errors import GalleryDamaged
    from hashsearch.places import find_gallery

    path = find_gallery(gallery, indexes)
    checks = galleries.verify(path)
    damaged = [check.dataset for check in checks if not check.ok]
    if as_json:
        print_json({"gallery": str(path), "datasets": [check._asdict() for check in checks]})
    else:
        rows = [(c.dataset, f"{c.bytes:,}", "ok" if c.ok else "DAMAGED") for c in checks]
        console.print_table(str(path), ("dataset", "bytes", "checksum"), rows)
        if not damaged:
            click.echo("Whole: every byte is as it was written.")
    if damaged:
        raise GalleryDamaged(
            f"{path}: {', '.join(damaged)} damaged; rebuild it with `hashsearch build-index`"
        )
