"""The command that trains an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashsearch.cli.common import extra, given
from hashsearch.errors import DatasetMissing

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["train"]


@click.command()
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
    help="auto, float32 or bfloat16; auto takes what is faster here, now. The end says which. To "
    "train the same network again, name it.",
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

    with extra("train"):
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
    done = trained.record.training
    click.echo(
        f"{trained.path}: validation mAP {trained.best.validation_map:.4f} (epoch "
        f"{trained.best.epoch}), trained in {_duration(trained.seconds)} ({done['device']}, "
        f"{done['precision']}, {done['threads']} threads); ONNX Runtime sets "
        f"{trained.differing_bits:.2g} of the bits differently than torch. Try "
        f"`hashsearch build-index --encoder {trained.path}`."
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
