"""The command line: each command parses, makes one library call, and prints.

What is heavy is imported inside the command that needs it, so `--help` answers at once
and `query` never loads torch. Results go to standard output, everything else to standard
error.
"""

from __future__ import annotations

import io
import json
import shlex
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from hashsearch import __version__
from hashsearch.errors import DatasetMissing, ExtraMissing, HashsearchError, ImageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from PIL import Image

    from hashsearch.bench.suite import Run, Suite
    from hashsearch.datasets.image_set import ImageSet
    from hashsearch.gallery import Gallery

__all__ = ["cli", "main"]

SAMPLE_NAME = "fashion-mnist"

_indexes_option = click.option(
    "--indexes",
    type=click.Path(path_type=Path),
    default=Path("indexes"),
    show_default=True,
    envvar="HASHSEARCH_INDEXES",
    help="Folder of the galleries.",
)
_gallery_option = click.option(
    "--gallery",
    "-g",
    help="Name of a gallery in the folder of galleries, or path of its file "
    "[default: the one built last].",
)
_encoder_option = click.option(
    "--encoder",
    "-e",
    help="Name of an encoder that ships, or path of an .onnx file "
    "[default: the one that the gallery was built with].",
)
_radius_option = click.option(
    "--radius",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="Of the ball, in bits of the semantic code.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


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
        click.echo("Stopped; nothing is half-written.", err=True)
        sys.exit(1)


def _fail(message: str, *, status: int) -> NoReturn:
    from hashsearch.console import printable

    click.echo(f"Error: {printable(message)}", err=True)
    sys.exit(status)


@click.group(no_args_is_help=False, invoke_without_command=True)
@click.pass_context
@click.version_option(__version__, prog_name="hashsearch")
def cli(context: click.Context) -> None:
    """Find fashion items by photo: exact Hamming search over learned binary codes."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command("build-index")
@click.argument("photos", type=click.Path(path_type=Path), required=False)
@click.option(
    "--name",
    help="Name of the gallery, or path of its .h5 file [default: the name of the folder].",
)
@click.option(
    "--encoder",
    "-e",
    default=SAMPLE_NAME,
    show_default=True,
    help="Name of an encoder that ships, or path of an .onnx file.",
)
@click.option("--thumbnails/--no-thumbnails", default=True, help="Keep a small JPEG of each item.")
@_indexes_option
@_json_option
def build_index(
    *,
    photos: Path | None,
    name: str | None,
    encoder: str,
    thumbnails: bool,
    indexes: Path,
    as_json: bool,
) -> None:
    """Encode the images of the folder PHOTOS into a gallery.

    Sub-folders are types. Without PHOTOS: the sample that ships, the 10,000 test images
    of Fashion-MNIST. Images that cannot be read are listed, not fatal.
    """
    from hashsearch import console
    from hashsearch.datasets import fashion_mnist
    from hashsearch.datasets.folder import folder_items
    from hashsearch.gallery import writing
    from hashsearch.gallery.build import build
    from hashsearch.places import check_replaceable, gallery_path, load_encoder

    if name:
        path = gallery_path(name, indexes)
    else:
        path = indexes / f"{_default_name(photos)}.h5"
        check_replaceable(path, photos)
    items = fashion_mnist.sample().items() if photos is None else folder_items(photos)
    loaded = load_encoder(encoder)
    with writing(path) as writer, console.progress("encoding", len(items)) as advance:
        result = build(items, loaded, thumbnails=thumbnails, on_progress=advance)
        writer.write(result.gallery)
    for skipped in result.skipped:
        click.echo(console.printable(f"Skipped {skipped.reason}"), err=True)
    count = len(result.gallery)
    if as_json:
        _print_json(
            {
                "gallery": str(path),
                "items": count,
                "skipped": [vars(skipped) for skipped in result.skipped],
            }
        )
    else:
        left_out = f", {len(result.skipped)} skipped" if result.skipped else ""
        hint = f"hashsearch query IMAGE{_option_to_find(path, indexes)}"
        click.echo(console.printable(f"{path}: {count:,} items{left_out}. Try `{hint}`."))


@cli.command(short_help="Find what is nearest to image files.")
@click.argument("images", nargs=-1, required=True)
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Matches.")
@_radius_option
@_gallery_option
@_encoder_option
@click.option(
    "--sheet",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a picture of query and matches to this PNG file.",
)
@_indexes_option
@_json_option
def query(
    *,
    images: tuple[str, ...],
    k: int,
    radius: int,
    gallery: str | None,
    encoder: str | None,
    sheet: Path | None,
    indexes: Path,
    as_json: bool,
) -> None:
    """Find the gallery items nearest to each of the image files IMAGES.

    `-` reads an image from standard input. Matches within the radius come first, the
    closest by the whole code before the others. An image that cannot be read costs its
    own answer alone, and the exit status is 1.
    """
    from hashsearch import console
    from hashsearch.files import write_atomically
    from hashsearch.places import encoder_of

    if sheet is not None and sheet.suffix.lower() != ".png":
        raise click.UsageError(f"--sheet writes a PNG file; name one that ends in .png: {sheet}")
    opened = _open_gallery(gallery, indexes)
    loaded = encoder_of(opened, encoder)
    names, pictures, unreadable = _read_queries(images)
    for message in unreadable:
        click.echo(f"Error: {console.printable(message)}", err=True)
    if not pictures:
        click.get_current_context().exit(1)
    matches = opened.nearest(loaded.encode(pictures), k=k, radius=radius)
    if sheet is not None:
        from hashsearch.pictures import SheetRow, contact_sheet, png_bytes

        rows = [
            SheetRow(Path(name).stem, picture, found)
            for name, picture, found in zip(names, pictures, matches, strict=True)
        ]
        write_atomically(sheet, png_bytes(contact_sheet(rows, opened)))
        click.echo(f"Wrote {sheet}", err=True)
    if as_json:
        _print_json(
            {
                "gallery": str(opened.path),
                "radius": radius,
                "queries": [
                    {
                        "query": name,
                        "ball_size": int(found.ball_size[0]),
                        "matches": console.match_records(found),
                    }
                    for name, found in zip(names, matches, strict=True)
                ],
            }
        )
    else:
        for name, found in zip(names, matches, strict=True):
            console.print_matches(name, found, opened)
    if unreadable:
        click.get_current_context().exit(1)


@cli.command(short_help="Measure how good and how fast a gallery is.")
@_radius_option
@_gallery_option
@click.option(
    "--scales",
    help="Sizes of further galleries, such as 1k,10k,100k,1m; past the gallery's own size "
    "they are filled with deformed copies of its images [default: 1k,10k].",
)
@click.option("--peers", is_flag=True, help="Compare with FAISS's indexes over the items, too.")
@click.option("--overheads", is_flag=True, help="Measure cold start and encoding speed, too.")
@click.option(
    "--pairs",
    type=click.Path(path_type=Path),
    help="CSV file of judged pairs (query,gallery,relevant) of gallery items: measure on which "
    "side of the radius they lie, too.",
)
@_encoder_option
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--suite",
    "suites",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="TOML file that lists trainings: run what is not recorded yet, and render the report "
    "beside the file; may be repeated.",
)
@click.option(
    "--render",
    is_flag=True,
    help="For --suite: run nothing; render the report of what is recorded.",
)
@click.option(
    "--share",
    type=(click.IntRange(min=1), click.IntRange(min=1)),
    default=(1, 1),
    help="For --suite, on several machines: 2 3 runs the second third of its trainings here.",
)
@click.option(
    "--objectives",
    help="Names such as dch,itq,pixel-sad: train each, and measure it by --protocols.",
)
@click.option("--protocols", default="held-out", show_default=True, help="For --objectives.")
@click.option("--bits", default="48", show_default=True, help="For --objectives.")
@click.option("--seeds", default="0", show_default=True, help="For --objectives.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the training images, for --suite and --objectives.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the record and the plots [default: benchmarks/results/GALLERY].",
)
@_indexes_option
@_json_option
def bench(
    *,
    radius: int,
    gallery: str | None,
    scales: str | None,
    peers: bool,
    overheads: bool,
    pairs: Path | None,
    encoder: str | None,
    seed: int,
    suites: tuple[Path, ...],
    render: bool,
    share: tuple[int, int],
    objectives: str | None,
    protocols: str,
    bits: str,
    seeds: str,
    data_dir: Path | None,
    out: Path | None,
    indexes: Path,
    as_json: bool,
) -> None:
    """Measure how good and how fast a gallery is; record it as JSON and plots.

    With --suite or --objectives, train systems instead, and measure how good each is.
    """
    of_trainings = _given(protocols=protocols, bits=bits, seeds=seeds)
    of_galleries = _given(
        gallery=gallery,
        scales=scales,
        peers=peers,
        overheads=overheads,
        pairs=pairs,
        encoder=encoder,
        seed=seed,
        indexes=indexes,
    )
    if suites:
        own = _given(radius=radius, objectives=objectives, out=out)
        _refuse({**of_galleries, **of_trainings, **own}, "--suite, whose file says all")
        if render:
            _refuse(_given(share=share, data_dir=data_dir), "--render")
        _bench_suites(suites, share, data_dir, render=render, as_json=as_json)
        return
    if objectives:
        _refuse({**of_galleries, **_given(share=share, render=render)}, "--objectives")
        _bench_objectives(
            _names(objectives),
            _numbers("--bits", bits),
            _numbers("--seeds", seeds),
            _names(protocols),
            radius,
            data_dir,
            out or Path("benchmarks") / "results" / "objectives",
            as_json=as_json,
        )
        return
    own = _given(data_dir=data_dir, share=share, render=render)
    _refuse({**of_trainings, **own}, "a gallery; it is for trainings")

    from hashsearch import console
    from hashsearch.bench import parse_scale, record, run, tables
    from hashsearch.datasets.pairs import read_pairs
    from hashsearch.files import check_writable
    from hashsearch.places import encoder_of

    opened = _open_gallery(gallery, indexes)
    sizes = [parse_scale(text) for text in scales.split(",")] if scales else None
    judged = None if pairs is None else read_pairs(pairs, opened.ids())
    folder = out or Path("benchmarks") / "results" / (opened.path or Path("gallery")).stem
    check_writable(folder / "result.json")
    with console.stages() as tell:
        result = run(
            opened,
            radius=radius,
            scales=sizes,
            peers=peers,
            overheads=overheads,
            pairs=judged,
            seed=seed,
            encoder=None if encoder is None else encoder_of(opened, encoder),
            progress=tell,
        )
    written = record(result, folder)
    if as_json:
        _print_json(result)
    else:
        for table in tables(result):
            console.print_table(table.title, table.columns, table.rows, table.note)
        for note in result["notes"]:
            click.echo(note)
    click.echo(f"Recorded: {', '.join(map(str, written))}", err=True)


def _refuse(given: Iterable[str], beside: str) -> None:
    """Options that would do nothing beside another are a mistake of whoever gave them."""
    if options := ", ".join(f"--{name.replace('_', '-')}" for name in given):
        raise click.UsageError(f"{options}: of no meaning beside {beside}; leave it out")


def _bench_suites(
    files: Sequence[Path],
    share: tuple[int, int],
    data_dir: Path | None,
    *,
    render: bool,
    as_json: bool,
) -> None:
    """Run suites, unless they shall only be rendered; records and reports lie beside them."""
    with _extra("train"):
        from hashsearch.bench.report import (
            RUNS,
            check_report,
            record_duplicates,
            unclaimed_records,
            write_report,
        )
        from hashsearch.bench.suite import load_suite, read_runs
    from hashsearch.datasets import fashion_mnist
    from hashsearch.errors import TrainingError

    loaded = [(path.parent, load_suite(path).share(*share)) for path in files]
    folders = list(dict.fromkeys(folder for folder, _ in loaded))
    for folder in folders:
        check_report(folder)
    documents: list[Any] = []
    failed = []
    if render:
        for folder, suite in loaded:
            records = read_runs(suite, folder / RUNS)
            documents += _print_runs(suite, records, folder / RUNS, as_json=as_json)
    else:
        train, test = fashion_mnist.load("train", data_dir), fashion_mnist.sample()
        for folder, suite in loaded:
            try:
                documents += _run_suite(suite, train, test, folder / RUNS, as_json=as_json)
            except TrainingError as error:
                # What could be run is recorded, and the report is of that.
                failed.append(str(error))
            record_duplicates(folder, train, test)
    for folder in folders:
        page, *_ = write_report(folder)
        click.echo(f"Wrote {page}", err=True)
        for path in unclaimed_records(folder):
            click.echo(f"{path} is of no suite any more; delete it", err=True)
    if failed:
        raise TrainingError("; ".join(failed))
    if as_json:
        _print_json(documents)


def _bench_objectives(
    objectives: list[str],
    bits: list[int],
    seeds: list[int],
    protocols: list[str],
    radius: int,
    data_dir: Path | None,
    folder: Path,
    *,
    as_json: bool,
) -> None:
    """Train and measure objectives with their defaults."""
    with _extra("train"):
        from hashsearch.bench.suite import make_suite
    from hashsearch.datasets import fashion_mnist

    suite = make_suite(objectives, bits=bits, seeds=seeds, protocols=protocols, radius=radius)
    train, test = fashion_mnist.load("train", data_dir), fashion_mnist.sample()
    documents = _run_suite(suite, train, test, folder, as_json=as_json)
    if as_json:
        _print_json(documents)


def _run_suite(
    suite: Suite, train: ImageSet, test: ImageSet, folder: Path, *, as_json: bool
) -> list[Any]:
    """Run what is not recorded, and print all."""
    from hashsearch import console
    from hashsearch.bench.suite import run_suite

    with console.stages() as tell:
        records = run_suite(
            suite,
            folder,
            train=train,
            test=test,
            dataset="fashion-mnist",
            progress=tell,
            on_run=lambda run, _: click.echo(f"Recorded {folder / run.path}", err=True),
        )
    return _print_runs(suite, records, folder, as_json=as_json)


def _print_runs(
    suite: Suite, records: dict[Run, dict[str, Any]], folder: Path, *, as_json: bool
) -> list[Any]:
    """Print the tables, unless all is to be one document; return the records."""
    from hashsearch import console
    from hashsearch.bench.report import report_tables

    if not as_json:
        for table in report_tables(suite, records):
            console.print_table(table.title, table.columns, table.rows, table.note)
    click.echo(f"Recorded: {len(records)} runs in {folder}", err=True)
    return list(records.values())


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError as error:
        raise click.UsageError(
            f"{option} takes whole numbers such as 16,48, not {text!r}"
        ) from error


@cli.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The .onnx file to write.",
)
@click.option(
    "--data",
    type=click.Choice(["fashion-mnist"]),
    default="fashion-mnist",
    show_default=True,
    help="What to train on.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the data set's files.",
)
@click.option("--download", is_flag=True, help="Download the data set if it is not there.")
@click.option(
    "--part",
    type=click.Choice(["all-labels", "few-labels", "seen-types"]),
    default="all-labels",
    show_default=True,
    help="Images to learn from; few-labels: 500 a type, seen-types: all but three types, as the "
    "seed chooses.",
)
@click.option("--objective", default="adversarial", show_default=True)
@click.option(
    "--backbone",
    default="small-resnet",
    show_default=True,
    help="small-resnet, lenet, or a classifier of torchvision.models, such as alexnet.",
)
@click.option(
    "--backbone-weights",
    default="none",
    show_default=True,
    help="What a classifier of torchvision starts from: none (at random), imagenet (downloads "
    "them), or a file of its state dict.",
)
@click.option("--bits", type=int, default=48, show_default=True, help="Of the semantic code.")
@click.option(
    "--fine-bits",
    type=int,
    default=64,
    show_default=True,
    help="Of the fine code; 0 trains without one.",
)
@click.option(
    "--weight",
    "weights",
    multiple=True,
    metavar="TERM=VALUE",
    help="Weight of a term of the loss; may be repeated.",
)
@click.option(
    "--without",
    multiple=True,
    metavar="TERM",
    help="Train without a term of the loss; may be repeated.",
)
@click.option(
    "--constant",
    "constants",
    multiple=True,
    metavar="NAME=VALUE",
    help="Constant of the objective, such as gamma; may be repeated.",
)
@click.option("--epochs", type=int, default=20, show_default=True)
@click.option(
    "--settle-epochs",
    type=int,
    default=8,
    show_default=True,
    help="Further epochs, at a lower rate, which draw neighbours closer together.",
)
@click.option("--batch-size", type=int, default=256, show_default=True)
@click.option("--learning-rate", type=float, default=4e-3, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    help="auto, float32 or bfloat16; auto takes what is faster here.",
)
@click.option("--fresh", is_flag=True, help="Start over instead of resuming a stopped run.")
def train(
    *,
    out: Path,
    data: str,
    data_dir: Path | None,
    download: bool,
    part: str,
    objective: str,
    backbone: str,
    backbone_weights: str,
    bits: int,
    fine_bits: int,
    weights: tuple[str, ...],
    without: tuple[str, ...],
    constants: tuple[str, ...],
    epochs: int,
    settle_epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    device: str,
    precision: str,
    fresh: bool,
) -> None:
    """Train an encoder and write it as one .onnx file.

    A stopped run goes on from its last epoch when the same command is given again; until
    it is done its state lies beside the file in OUT.checkpoint. What is fitted, not trained
    (lsh, itq and semantic-hashing), starts over; it takes --bits and --seed, and the last one
    --epochs, --batch-size and --learning-rate, each with a default of its own.
    """
    from hashsearch import console
    from hashsearch.datasets import fashion_mnist

    with _extra("train"):
        from hashsearch.training.plan import plan_for
        from hashsearch.training.run import train_encoder

    terms = {**_values(weights, "--weight takes TERM"), **dict.fromkeys(without, 0.0)}
    values = _values(constants, "--constant takes NAME")
    plan = plan_for(
        objective,
        n_bits=bits,
        seed=seed,
        **({"weights": terms} if terms else {}),
        **({"constants": values} if values else {}),
        **_given(
            backbone=backbone,
            backbone_weights=backbone_weights,
            fine_bits=fine_bits,
            epochs=epochs,
            settle_epochs=settle_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            device=device,
            precision=precision,
        ),
    )
    try:
        images = fashion_mnist.load("train", data_dir)
    except DatasetMissing:
        if not download:
            raise
        with console.stages() as tell:
            fashion_mnist.download(data_dir, splits=("train",), progress=tell)
        images = fashion_mnist.load("train", data_dir)
    with console.training(plan.total_epochs) as display:
        trained = train_encoder(
            plan,
            images,
            out,
            dataset=data,
            part=part,
            fresh=fresh,
            on_step=display.step,
            on_epoch=display.epoch,
        )
    click.echo(
        f"{trained.path}: validation mAP {trained.best.validation_map:.4f} (epoch "
        f"{trained.best.epoch}), trained in {trained.seconds / 60:.0f} minutes; ONNX Runtime sets "
        f"{trained.differing_bits:.2g} of the bits differently than torch. Try "
        f"`hashsearch build-index --encoder {trained.path}`."
    )


@cli.command()
@_gallery_option
@_indexes_option
@_json_option
def info(gallery: str | None, indexes: Path, as_json: bool) -> None:
    """Say what a gallery holds."""
    from hashsearch import console

    facts = _open_gallery(gallery, indexes).info()
    if as_json:
        _print_json(facts)
    else:
        console.print_facts(facts)


@cli.command()
@_gallery_option
@_indexes_option
@_json_option
def verify(gallery: str | None, indexes: Path, as_json: bool) -> None:
    """Check every byte of a gallery file against its checksums."""
    from hashsearch import console
    from hashsearch import gallery as galleries
    from hashsearch.errors import GalleryDamaged
    from hashsearch.places import find_gallery

    path = find_gallery(gallery, indexes)
    checks = galleries.verify(path)
    damaged = [check.dataset for check in checks if not check.ok]
    if as_json:
        _print_json({"gallery": str(path), "datasets": [check._asdict() for check in checks]})
    else:
        rows = [(c.dataset, f"{c.bytes:,}", "ok" if c.ok else "DAMAGED") for c in checks]
        console.print_table(str(path), ("dataset", "bytes", "checksum"), rows)
        if not damaged:
            click.echo("Whole: every byte is as it was written.")
    if damaged:
        raise GalleryDamaged(
            f"{path}: {', '.join(damaged)} damaged; rebuild it with `hashsearch build-index`"
        )


def _default_name(photos: Path | None) -> str:
    """What a gallery of this folder is called."""
    if photos is None:
        return SAMPLE_NAME
    name = photos.name if photos.name not in {"", ".."} else photos.resolve().name
    if not name:
        raise click.UsageError(f"{photos} has no name to call the gallery by; give one with --name")
    return name


def _option_to_find(path: Path, indexes: Path) -> str:
    """What a query needs so that it finds this gallery: nothing, if it lies where all do."""
    source = click.get_current_context().get_parameter_source("indexes")
    if path.parent == indexes and source is not ParameterSource.COMMANDLINE:
        return ""
    return f" --gallery {shlex.quote(str(path))}"


def _open_gallery(name: str | None, indexes: Path) -> Gallery:
    from hashsearch.gallery import Gallery
    from hashsearch.places import find_gallery

    return Gallery.open(find_gallery(name, indexes))


def _read_queries(sources: Sequence[str]) -> tuple[list[str], list[Image.Image], list[str]]:
    """Names and pictures of the images that can be read, and what is wrong with the others."""
    from hashsearch.images import read_image

    names, pictures, unreadable = [], [], []
    for source in sources:
        piped = source == "-"
        try:
            pictures.append(read_image(sys.stdin.buffer.read() if piped else source))
        except ImageError as error:
            unreadable.append(f"standard input: {error}" if piped else str(error))
        else:
            names.append("standard input" if piped else source)
    return names, pictures, unreadable


@contextmanager
def _extra(name: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            f"this command needs the package {error.name}: install hashsearch with its extra, "
            f"`pip install '.[{name}]'` in its clone"
        ) from error


def _given(**options: Any) -> dict[str, Any]:
    """Those of a command's options that are not left to their defaults."""
    source = click.get_current_context().get_parameter_source
    return {
        name: value
        for name, value in options.items()
        if source(name) is not ParameterSource.DEFAULT
    }


def _values(pairs: Sequence[str], takes: str) -> dict[str, float]:
    values = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            values[name] = float(value)
        except ValueError as error:
            raise click.UsageError(f"{takes}=VALUE, not {pair!r}") from error
    return values


def _print_json(document: object) -> None:
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = json.dumps(document, indent=1, allow_nan=False)
    click.echo(text)
