"""`Expert`: what one modality contributes to each pixel, its compact forms, and the fusion of several. No grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from georeset_lab.errors import ShapeMismatch

__all__ = ["Expert", "Pixels", "Quantization", "form_of", "fuse", "narrowed", "quantize"]

Form = Literal["float32", "float16", "int8"]
FORMS: tuple[Form, ...] = ("float32", "float16", "int8")

MEAN_LIMIT = 6.0
"""Largest posterior mean the int8 form of a *streamed* store can hold (its scale is fixed before the first tile);
under the N(0, 1) prior one value in 5e8 lies beyond it. Values outside are clipped."""
TAU_LIMIT = 4095.0
"""Largest precision the int8 form of a streamed store can hold: a certainty of 0.99976."""


class Pixels(Protocol):
    """An array (Y, X, D) that can be read by windows: a NumPy array, or one that lies in a store."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, columns, dimensions."""

    @property
    def dtype(self) -> Any:
        """Type of the stored numbers."""

    def __getitem__(self, key: tuple[slice, slice], /) -> Any:
        """Rows and columns of the array, all dimensions, as a NumPy array."""


@dataclass(frozen=True, eq=False)
class Quantization:
    """How the int8 form is read back."""

    scale: np.ndarray
    """Shape (D,), float32: posterior mean = code * scale, code in -127..127."""
    step: float
    """-ln(variance) = code * step, code in 0..255; code 0 is a certainty of exactly 0."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Quantization):
            return NotImplemented
        return self.step == other.step and np.array_equal(self.scale, other.scale)

    def __hash__(self) -> int:
        return hash((self.step, self.scale.tobytes()))

    @classmethod
    def fixed(cls, dim: int) -> Quantization:
        """Scale for data that has not been seen yet."""
        return cls(np.full(dim, MEAN_LIMIT / 127, np.float32), float(np.log1p(TAU_LIMIT) / 255))

    def encode(
        self, eta: np.ndarray, tau: np.ndarray, out: tuple[np.ndarray, np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Codes (int8 mean, uint8 certainty) of natural parameters (..., D); values beyond the scale are clipped.

        ``out`` holds the two results if given (contiguous, of that shape and those types).

        Raises
        ------
        ShapeMismatch
            A value is not finite, or a precision is negative.
        """
        from georeset_lab.embed.codes import RUN, encode_run

        low, high = out or (np.empty(eta.shape, np.int8), np.empty(eta.shape, np.uint8))
        dim, whole = eta.shape[-1], eta.flags.c_contiguous and tau.flags.c_contiguous
        lines = (1, eta.size) if whole else (len(eta), eta.size // len(eta))  # what can be read without a jump
        arrays = [a.reshape(lines) for a in (eta, tau, low, high)]
        step = max(min(lines[1], RUN // dim * dim), dim)
        per_scale, per_step = np.tile(1 / self.scale, step // dim).astype(np.float32), np.float32(1 / self.step)
        unfit = np.zeros(1, np.int32)
        for line in zip(*arrays, strict=True):
            for start in range(0, lines[1], step):
                e, t, lo, hi = (a[start : start + step] for a in line)
                e, t = (np.ascontiguousarray(a, np.float32) for a in (e, t))
                encode_run(e, t, per_scale, per_step, lo, hi, unfit)
        if unfit[0]:
            raise ShapeMismatch(
                "These eta and tau hold values that are not finite, or a negative precision. Give eta = tau = 0 where "
                "nothing was measured."
            )
        return low, high

    def decode(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Natural parameters (eta, tau), float32, of codes."""
        table = np.expm1(np.arange(256, dtype=np.float64) * self.step).astype(np.float32)
        tau = table[high]
        return low * self.scale * (1.0 + tau), tau


@dataclass(frozen=True, eq=False)
class Expert:
    """What one modality says about every pixel: a Gaussian per dimension, in natural parameters, without the prior.

    The posterior under the N(0, 1) prior is mean = eta / (1 + tau), variance = 1 / (1 + tau). A pixel that the modality
    did not measure has tau = 0 and eta = 0 in every dimension.

    Parameters
    ----------
    eta, tau : array, shape (Y, X, D)
        Precision ``tau`` >= 0 and ``eta = tau * mean``; float32 or float16, in memory or in a store. In the int8 form
        ``eta`` holds the posterior mean as int8 codes and ``tau`` the certainty as uint8 codes.
    quantization : Quantization, optional
        Needed by, and only by, the int8 form.
    stated : bool
        False if nobody said how sure the means are (published embeddings): then ``eta`` holds the mean itself, NaN where
        there is none, and ``tau`` is NaN. See `Expert.of_mean`.

    Raises
    ------
    ShapeMismatch
        The two disagree on shape, or are not (Y, X, D), or have a type that no form has.
    """

    eta: Pixels
    tau: Pixels
    quantization: Quantization | None = None
    stated: bool = True

    @classmethod
    def of_mean(cls, mean: np.ndarray) -> Expert:
        """Means (Y, X, D) whose variance is unknown, NaN where nothing was measured."""
        mean = mean if mean.dtype == np.float16 else np.ascontiguousarray(mean, np.float32)
        return cls(mean, np.broadcast_to(mean.dtype.type(np.nan), mean.shape), stated=False)

    def __post_init__(self) -> None:
        if tuple(self.eta.shape) != tuple(self.tau.shape) or len(self.eta.shape) != 3:
            raise ShapeMismatch(
                f"eta has shape {tuple(self.eta.shape)} and tau {tuple(self.tau.shape)}; both must be (Y, X, D). "
                "From (D, Y, X), pass np.ascontiguousarray(eta.transpose(1, 2, 0))."
            )
        types = (np.dtype(self.eta.dtype).name, np.dtype(self.tau.dtype).name)
        wanted = ("int8", "uint8") if self.quantization is not None else None
        if types != wanted and (wanted or types not in {("float32", "float32"), ("float16", "float16")}):
            raise ShapeMismatch(
                f"An expert cannot be of types {types}. Give eta and tau as float32 or float16, "
                "and use Embeddings.astype('int8') for the compact form."
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns, dimensions."""
        y, x, d = self.eta.shape
        return int(y), int(x), int(d)

    @property
    def in_memory(self) -> bool:
        """False if reading pixels reads a file."""
        return isinstance(self.eta, np.ndarray)

    @property
    def nbytes(self) -> int:
        """Size of the two arrays, in bytes, where they lie."""
        size = int(np.prod(self.shape))
        return size * (np.dtype(self.eta.dtype).itemsize + np.dtype(self.tau.dtype).itemsize)

    def read(self, rows: slice = slice(None), cols: slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """Natural parameters of a window: (eta, tau), each (y, x, D), float32 or float16."""
        eta, tau = self.eta[rows, cols], self.tau[rows, cols]
        return self.quantization.decode(eta, tau) if self.quantization is not None else (eta, tau)

    def window(self, rows: slice, cols: slice) -> Expert:
        """The same form of fewer pixels, read into memory if it lay in a store; a view if it was there already."""
        return Expert(self.eta[rows, cols], self.tau[rows, cols], self.quantization, self.stated)

    def observed(self, rows: slice = slice(None), cols: slice = slice(None)) -> np.ndarray:
        """Pixels (y, x), bool, about which the modality says anything at all."""
        if not self.stated:
            return np.isfinite(self.eta[rows, cols]).all(axis=-1)
        return _any_dim(self.tau[rows, cols])


def _any_dim(tau: np.ndarray) -> np.ndarray:
    """True where some dimension is above zero. Nearly every measured pixel shows it in its first dimension."""
    found = tau[..., 0] > 0
    rest = ~found
    if rest.any():
        found[rest] = (tau[rest] > 0).any(axis=-1)
    return found


def form_of(experts: Mapping[str, Expert]) -> Form:
    """The widest form among the experts."""
    forms = {np.dtype(e.eta.dtype).name for e in experts.values()}
    return next(f for f in FORMS if f in forms)


def fuse(
    experts: Sequence[Expert], rows: slice, cols: slice, out: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and variance (y, x, D) float32 of a window, all experts and the prior together, and the observed pixels.

    precision L = 1 + sum tau, mean = sum eta / L, variance = 1 / L; the prior is counted once. ``out`` holds the
    two results if given, so that no other array of their size is made. Of means whose variance is unknown, which is one
    expert alone, the variance is NaN; where they are missing it is the prior.
    """
    if len(experts) == 1 and not experts[0].stated:
        return _unstated(experts[0], rows, cols, out)
    mean, variance = out or (None, None)
    observed: np.ndarray | None = None
    for expert in experts:
        eta, tau = expert.read(rows, cols)
        if mean is None or variance is None:
            mean, variance = np.empty(eta.shape, np.float32), np.empty(eta.shape, np.float32)
        if observed is None:
            np.copyto(mean, eta)
            np.add(tau, np.float32(1), out=variance, dtype=np.float32)
            observed = _any_dim(tau)
        else:
            np.add(mean, eta, out=mean, dtype=np.float32)
            np.add(variance, tau, out=variance, dtype=np.float32)
            observed |= _any_dim(tau)
    if mean is None or variance is None or observed is None:
        raise ShapeMismatch("There is no expert to fuse. Give Embeddings at least one.")
    np.divide(np.float32(1), variance, out=variance)
    np.multiply(mean, variance, out=mean)
    return mean, variance, observed


def _unstated(
    expert: Expert, rows: slice, cols: slice, out: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values = expert.eta[rows, cols]
    mean, variance = out or (np.empty(values.shape, np.float32), np.empty(values.shape, np.float32))
    observed = np.isfinite(values).all(axis=-1)
    np.copyto(mean, values)
    variance[...] = np.nan
    mean[~observed], variance[~observed] = 0, 1
    return mean, variance, observed


def narrowed(values: np.ndarray, form: str) -> np.ndarray:
    """Floats of another width; what lies beyond float16 becomes its largest number rather than infinity."""
    if values.dtype == form:
        return values
    if form == "float16":
        values = np.clip(values, -np.finfo(np.float16).max, np.finfo(np.float16).max)
    return values.astype(form)


def quantize(expert: Expert, form: Form) -> Expert:
    """The expert in another form, in memory. The int8 form gets the finest scale that holds all its values."""
    if not expert.stated:
        if form == "int8":
            raise ShapeMismatch("Embeddings whose variance is unknown have no int8 form. Choose float32 or float16.")
        return Expert.of_mean(narrowed(expert.read()[0], form))
    if form != "int8":
        eta, tau = expert.read()
        return Expert(narrowed(eta, form), narrowed(tau, form))
    height, width, dim = expert.shape
    parts = [slice(i, i + max(1, 4096 // width)) for i in range(0, height, max(1, 4096 // width))]
    top, most = np.zeros(dim, np.float32), 0.0
    for rows in parts:
        eta, tau = (a.astype(np.float32, copy=False) for a in expert.read(rows))
        np.maximum(top, np.abs(eta / (1 + tau)).max(axis=(0, 1)), out=top)
        most = max(most, float(tau.max()))
    rule = Quantization(np.where(top > 0, top / 127, 1).astype(np.float32), float(np.log1p(most)) / 255 or 1e-3)
    low, high = np.empty(expert.shape, np.int8), np.empty(expert.shape, np.uint8)
    for rows in parts:
        low[rows], high[rows] = rule.encode(*expert.read(rows))
    return Expert(low, high, rule)
