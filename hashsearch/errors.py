"""What can go wrong, as one tree of exceptions.

Every error that hashsearch raises on purpose is a :class:`HashsearchError`. Its
message is one line that names the file or value at fault and says what to do next,
so the command line can print it as it stands::

    HashsearchError
    ├── ArgumentError (also a ValueError)   a k, radius or bit count that cannot be
    ├── ImageError                          a file or array that is no readable image
    ├── CodesError (also a ValueError)      codes of the wrong shape, dtype or width
    ├── EncoderError                        an .onnx file that is not an encoder
    ├── DatasetError                        a data set that is damaged
    │   └── DatasetMissing                  ... or not there
    ├── GalleryError                        a gallery that cannot be used
    │   ├── GalleryMissing                  there is none at this path
    │   ├── GalleryDamaged                  truncated, altered, or not a gallery
    │   ├── GalleryBusy                     another process is writing it
    │   ├── GalleryWriteError               the folder or the disk refuses it
    │   ├── ShardMissing                    a shard of it gives no answer in time
    │   └── EncoderMismatch                 built with another encoder
    ├── TrainingError                       a training run that cannot start or go on
    ├── SuiteError                          a benchmark suite, or a record of it, that is damaged
    ├── ClusterError                        a Ray cluster that is not there, or fails
    ├── LeakError                           a measurement on images that took part in training
    └── ExtraMissing                        an optional dependency is not installed
"""

from __future__ import annotations

__all__ = [
    "ArgumentError",
    "ClusterError",
    "CodesError",
    "DatasetError",
    "DatasetMissing",
    "EncoderError",
    "EncoderMismatch",
    "ExtraMissing",
    "GalleryBusy",
    "GalleryDamaged",
    "GalleryError",
    "GalleryMissing",
    "GalleryWriteError",
    "HashsearchError",
    "ImageError",
    "LeakError",
    "ShardMissing",
    "SuiteError",
    "TrainingError",
    "first_line",
]


class HashsearchError(Exception):
    """The root: catch this to catch everything that hashsearch raises on purpose."""


class ArgumentError(HashsearchError, ValueError):
    """A value outside what a call accepts."""


class ImageError(HashsearchError):
    """A file, byte string or array that is no readable image."""


class CodesError(HashsearchError, ValueError):
    """Codes of the wrong shape, dtype or width."""


class EncoderError(HashsearchError):
    """An ``.onnx`` file that is not a hashsearch encoder, or not a safe one."""


class DatasetError(HashsearchError):
    """A data set that is damaged."""


class DatasetMissing(DatasetError):
    """A data set that is in none of the places where it was looked for."""


class GalleryError(HashsearchError):
    """A gallery that cannot be used."""


class GalleryMissing(GalleryError):
    """No gallery at this path."""


class GalleryDamaged(GalleryError):
    """A truncated, altered or foreign gallery file."""


class GalleryBusy(GalleryError):
    """Another process is writing this gallery."""


class GalleryWriteError(GalleryError):
    """The folder or the disk refuses the gallery; the old one, if any, is whole."""


class ShardMissing(GalleryError):
    """A shard gives no answer in time, so there is none of the whole gallery."""


class EncoderMismatch(GalleryError):
    """The gallery was built with another encoder than the one searched with."""


class TrainingError(HashsearchError):
    """A training run that cannot start or cannot go on."""


class SuiteError(HashsearchError):
    """A file of a benchmark suite, or a recorded run of one, that cannot be used."""


class ClusterError(HashsearchError):
    """A Ray cluster that cannot be reached, or whose machines do not see the same."""


class LeakError(HashsearchError):
    """A measurement whose queries or gallery took part in the encoder's training."""


class ExtraMissing(HashsearchError):
    """An optional dependency is not installed."""

    @classmethod
    def of(cls, what: str, package: str | None, extra: str) -> ExtraMissing:
        """The error of something that needs a package which this extra brings."""
        return cls(
            f"{what} needs the package {package}: install hashsearch with its extra, "
            f"`pip install '.[{extra}]'` in its clone"
        )


def first_line(error: Exception) -> str:
    r"""The first line of what another library says, or the name of its error.

    >>> first_line(ValueError("no such layer\nTraceback ..."))
    'no such layer'
    >>> first_line(KeyError())
    'KeyError'
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
