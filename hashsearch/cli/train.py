"""The command that trains an encoder."""

from __future__ import annotations

import itertools
import shlex
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hashsearch.cli.common import (
    column_option,
    examples,
    extra,
    given,
    open_items,
    refuse,
    source_option,
    tell_notes,
)
from hashsearch.errors import DatasetMissing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hashsearch.datasets.image_set import ImageSet
    from hashsearch.training.processes import Processes
    from hashsearch.training.run import Trained

__all__ = ["train"]

_FASHION_MNIST = "fashion-mnist"
_TOLD = 20  # images that could not be read, told one by one


@click.command(
    epilog=examples(
        "hashsearch train --data PHOTOS/ --out shop.onnx --backbone small-resnet \\",
        "    --image-size 32 --epochs 8 --settle-epochs 3",
        "hashsearch train --data-dir FASHION-MNIST/ --objective itq --out itq.onnx",
    ),
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The .onnx file to write.",
)
@click.option(
    "--data",
    default=_FASHION_MNIST,
    show_default=True,
    metavar="fashion-mnist|PATH",
    help="What to train on: fashion-mnist, or photos: a folder, a catalogue file, or the files of "
    "a data set.",
)
@source_option
@column_option
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="For fashion-mnist: folder of its files.",
)
@click.option("--download", is_flag=True, help="For fashion-mnist: download it if it is not there.")
@click.option(
    "--part",
    type=click.Choice(["all-labels", "few-labels", "seen-types"]),
    default="all-labels",
    show_default=True,
    help="For fashion-mnist: images to learn from; few-labels: 500 a type, seen-types: all but "
    "three types, as the seed chooses.",
)
@click.option(
    "--neighbours",
    default="same-type",
    show_default=True,
    help="Which images shall get near codes: same-type, same-item (photos of one article) or "
    "shared-attributes(N) (at least N in common).",
)
@click.option(
    "--image-size",
    type=click.IntRange(min=1),
    help="For photos: pixels a side that the network sees [default: 224 for a classifier of "
    "torchvision, else 64].",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="For photos: processes that read them, for each that trains; 0: none beside it [default: "
    "as many as cores, shared].",
)
@click.option("--objective", default="adversarial", show_default=True)
@click.option(
    "--backbone",
    default="small-resnet",
    show_default=True,
    help="small-resnet, lenet, or a classifier of torchvision.models, such as alexnet; for photos "
    "resnet18 unless told.",
)
@click.option(
    "--backbone-weights",
    default="none",
    show_default=True,
    help="What a classifier of torchvision starts from: none (at random), imagenet (downloads "
    "them; for photos, unless told), or a file of its state dict.",
)
@click.option(
    "--backbone-rate",
    type=float,
    default=1.0,
    show_default=True,
    help="Learning rate of the backbone over that of all else; for photos and trained weights 0.1 "
    "unless told.",
)
@click.option(
    "--freeze-epochs",
    type=int,
    default=0,
    show_default=True,
    help="First epochs in which the backbone stays as it is; for photos and trained weights 1 "
    "unless told.",
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
@click.option(
    "--batch-size",
    type=int,
    default=256,
    show_default=True,
    help="Of all processes together; for photos 64 unless told.",
)
@click.option(
    "--accumulate",
    type=int,
    default=1,
    show_default=True,
    help="Batches a step: as large a step in less memory, but each batch has its own pairs.",
)
@click.option("--learning-rate", type=float, default=4e-3, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    help="auto, float32 or bfloat16; auto takes what is faster here, now. The end says which. To "
    "train the same network again, name it.",
)
@click.option("--fresh", is_flag=True, help="Start over instead of resuming a stopped run.")
def train(
    *,
    out: Path,
    data: str,
    source: str | None,
    columns: tuple[str, ...],
    data_dir: Path | None,
    download: bool,
    part: str,
    neighbours: str,
    image_size: int | None,
    workers: int | None,
    objective: str,
    backbone: str,
    backbone_weights: str,
    backbone_rate: float,
    freeze_epochs: int,
    bits: int,
    fine_bits: int,
    weights: tuple[str, ...],
    without: tuple[str, ...],
    constants: tuple[str, ...],
    epochs: int,
    settle_epochs: int,
    batch_size: int,
    accumulate: int,
    learning_rate: float,
    seed: int,
    device: str,
    precision: str,
    fresh: bool,
) -> None:
    """Train an encoder and write it as one .onnx file.

    A stopped run goes on from its last epoch when the same command is given again; until
    it is done its state lies beside the file in OUT.checkpoint. `torchrun --nproc-per-node N
    -m hashsearch train` trains the same with N processes, each on a GPU of its own where there
    are GPUs; they go on from what another number of them did. What is fitted, not trained
    (lsh, itq and semantic-hashing), starts over and takes one process; it takes --bits and --seed,
    and the last one --epochs, --batch-size and --learning-rate, each with a default of its own; and
    it takes no photos.
    """
    from hashsearch.gallery.threads import usable_cores

    with extra("train"):
        from hashsearch.training.feed import Reading
        from hashsearch.training.plan import plan_for, plan_for_photos
        from hashsearch.training.run import train_encoder, train_on_photos

    with _together(device) as processes:
        photos = data != _FASHION_MNIST
        if photos:
            refuse(given(data_dir=data_dir, download=download, part=part), "for photos")
        else:
            alone = given(source=source, columns=columns, image_size=image_size, workers=workers)
            refuse(alone, f"for {_FASHION_MNIST}")
        terms = {**_values(weights, "--weight takes TERM"), **dict.fromkeys(without, 0.0)}
        values = _values(constants, "--constant takes NAME")
        options: dict[str, Any] = {
            "n_bits": bits,
            "seed": seed,
            **({"weights": terms} if terms else {}),
            **({"constants": values} if values else {}),
            **given(
                backbone=backbone,
                backbone_weights=backbone_weights,
                fine_bits=fine_bits,
                epochs=epochs,
                settle_epochs=settle_epochs,
                batch_size=batch_size,
                learning_rate=learning_rate,
                device=device,
                precision=precision,
                neighbours=neighbours,
                backbone_rate=backbone_rate,
                freeze_epochs=freeze_epochs,
                accumulate=accumulate,
            ),
        }
        if photos:
            photo_plan = plan_for_photos(objective, **options)
            catalogue = open_items(Path(data), source, columns)
            if processes.is_first:
                # Before hours of training: what was taken for what may not be what was meant.
                tell_notes(catalogue)
            if workers is None:
                workers = max(usable_cores() // processes.local_size, 1)
            with _shown(photo_plan.total_epochs, processes) as reports:
                trained = train_on_photos(
                    photo_plan,
                    catalogue,
                    out,
                    image_size=image_size,
                    reading=Reading(workers=workers),
                    processes=processes,
                    fresh=fresh,
                    **reports,
                )
        else:
            plan = plan_for(objective, **options)
            with processes.one_before_others():  # it may download them
                images = _fashion_mnist(data_dir, download=download)
            with _shown(plan.total_epochs, processes) as reports:
                trained = train_encoder(
                    plan,
                    images,
                    out,
                    dataset=data,
                    part=part,
                    processes=processes,
                    fresh=fresh,
                    **reports,
                )
        if processes.is_first:
            roles = [part for column in columns for part in ("--column", column)]
            kind = ["--source", source] if source else []
            _tell(trained, [data, *kind, *roles] if photos else [])


@contextmanager
def _together(device: str) -> Iterator[Processes]:
    """The processes that train; where they fail, the first of them that does says why."""
    from hashsearch.training.processes import torchrun_processes

    with torchrun_processes(device) as processes:
        try:
            yield processes
        except BaseException:
            if processes.tells():
                raise
            raise click.exceptions.Exit(1) from None


@contextmanager
def _shown(epochs: int, processes: Processes) -> Iterator[dict[str, Any]]:
    """What a training calls to be shown, of which there is one."""
    from hashsearch import console

    if not processes.is_first:
        yield {}
        return
    with console.training(epochs) as display:
        yield {"on_step": display.step, "on_epoch": display.epoch}


def _fashion_mnist(data_dir: Path | None, *, download: bool) -> ImageSet:
    """Its training split, downloaded where it is missing and may be."""
    from hashsearch import console
    from hashsearch.datasets import fashion_mnist

    try:
        return fashion_mnist.load("train", data_dir)
    except DatasetMissing:
        if not download:
            raise
        with console.stages() as tell:
            fashion_mnist.download(data_dir, splits=("train",), progress=tell)
        return fashion_mnist.load("train", data_dir)


def _tell(trained: Trained, shown: Sequence[str]) -> None:
    """What was made; on standard error what was not learnt from."""
    from hashsearch import console
    from hashsearch.files import write_csv

    for reason in itertools.islice(trained.skipped.values(), _TOLD):
        click.echo(console.printable(f"Skipped {reason}"), err=True)
    listing = trained.path.with_suffix(".skipped.csv")
    listing.unlink(missing_ok=True)
    if trained.skipped:
        write_csv(listing, ("id", "reason"), trained.skipped.items())
        click.echo(
            f"Images that could not be read: {len(trained.skipped):,}; all are in {listing}.",
            err=True,
        )
    if trained.left_out:
        click.echo(
            f"Images left out, of which {trained.record.neighbour_rule} has nothing to compare: "
            f"{trained.left_out}.",
            err=True,
        )
    done = trained.record.training
    command = shlex.join(["hashsearch", "build-index", *shown, "--encoder", str(trained.path)])
    click.echo(
        f"{trained.path}: validation mAP {trained.best.validation_map:.4f} (epoch "
        f"{trained.best.epoch}), trained in {_duration(trained.seconds)} ({done['device']}, "
        f"{done['precision']}, {done['threads']} threads); ONNX Runtime sets "
        f"{trained.differing_bits:.2g} of the bits differently than torch. Try `{command}`."
    )


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 100 else f"{seconds:.0f} s"


def _values(pairs: Sequence[str], takes: str) -> dict[str, float]:
    values = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            values[name] = float(value)
        except ValueError as error:
            raise click.UsageError(f"{takes}=VALUE, not {pair!r}") from error
    return values
