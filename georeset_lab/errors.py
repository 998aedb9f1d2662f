"""Every exception and warning of the package, and nothing else.

Each exception is a `GeoresetError` and also the built-in a caller would expect, so both ``except GeoresetError``
and ``except ValueError`` work. A message says what was given, what was needed and which call fixes it.
"""


class GeoresetError(Exception):
    """Anything this package refuses to do."""


class SceneReadError(GeoresetError, OSError):
    """A source is missing, truncated, of a refused format, or cannot be decoded."""


class RemoteError(SceneReadError):
    """A server refused, kept failing or broke off, after all retries."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status of the last answer; None if there was none."""


class MissingCRS(GeoresetError, ValueError):
    """A raster does not say where on Earth it is."""


class GridMismatch(GeoresetError, ValueError):
    """Two arrays that must lie on one grid do not, or share no ground."""


class NotAGrid(GeoresetError, TypeError):
    """Something that needs rows and columns of pixels was asked of vectors at single points."""


class UnknownSensor(GeoresetError, ValueError):
    """No sensor table has this name."""


class UnknownModality(GeoresetError, KeyError):
    """The scene or the embeddings have no modality of this name."""

    __str__ = Exception.__str__  # KeyError shows repr(message), with quotes and escaped line ends


class BandMismatch(GeoresetError, ValueError):
    """The number, names or order of bands is not what was declared."""


class UnitError(GeoresetError, ValueError):
    """A number cannot be in the unit it must have (nanometres for micrometres, counts for reflectance)."""


class ShapeMismatch(GeoresetError, ValueError):
    """Arrays or tensors disagree on a dimension."""


class NothingObserved(GeoresetError, ValueError):
    """The answer would rest on no measurement at all."""


class LabelError(GeoresetError, ValueError):
    """Labels are empty, of one class, outside the scene, or of an unusable geometry."""


class OutsideScene(GeoresetError, ValueError):
    """A point or box does not touch the scene."""


class InvalidOption(GeoresetError, ValueError):
    """An argument has a value that the call does not take, or arguments exclude each other."""


class ModelMismatch(GeoresetError, ValueError):
    """Embeddings of one model were given to something that was fitted on those of another."""


class CheckpointError(GeoresetError, ValueError):
    """A model or probe file is damaged, incomplete or not ours."""


class StoreError(GeoresetError, OSError):
    """A Zarr store of embeddings or of a scene is damaged, incomplete or not ours."""


class RecipeError(GeoresetError, ValueError):
    """A training recipe names something that does not exist or cannot be."""


class ClusterError(GeoresetError, RuntimeError):
    """The cluster that was to do the work is lost, fails at it, or runs another version of this package."""


class MissingExtra(GeoresetError, ImportError):
    """An optional dependency is needed for this call."""


class GeoresetWarning(UserWarning):
    """The result is right but may surprise; every warning of the package is one of these."""


class UnitsInferred(GeoresetWarning):
    """A scale, offset or unit was decided from the numbers because the file does not state it."""


class BandsAssumed(GeoresetWarning):
    """Unnamed bands were taken in the order of the named sensor."""


class BandsSuspect(GeoresetWarning):
    """A band's values contradict its name."""


class Reprojected(GeoresetWarning):
    """A modality was resampled to another coordinate reference system."""


class CroppedToCommonExtent(GeoresetWarning):
    """Modalities covered different ground; only the part they share was kept."""


class EmptyScene(GeoresetWarning):
    """No pixel of the scene was measured."""


class CoarsenedOutput(GeoresetWarning):
    """The default output resolution was lowered to stay within the pixel limit."""
