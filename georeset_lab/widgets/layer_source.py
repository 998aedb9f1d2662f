"""`LayerSource`: which layers an exploration has at this moment, and the job that makes each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from georeset_lab.embed.pictures.overview import ColourBasis, Sample, axes_basis, pca_basis, sample_map
from georeset_lab.embed.points import Column, columns_of
from georeset_lab.widgets import map_layers as layers
from georeset_lab.widgets.page_images import certainty_top, label_of

if TYPE_CHECKING:
    from georeset_lab.widgets.map_layers import Layer
    from georeset_lab.widgets.state import Exploration

SAMPLE_PIXELS = 65_536
"""Pixels of the first picture, and those that colours and scales are fixed by."""
LARGE_PIXELS = 262_144
"""The same for a map that does not fit memory, which is shown by no more than these."""
KEPT_LAYERS = 6
"""Pictures kept, so that going back to one costs nothing."""

PCA, AXES, FUSED, SIMILARITY, SCENE = "pca", "axes", "certainty", "similarity", "scene"
_TITLES = {PCA: "Embedding: principal axes", AXES: "Embedding: three dimensions", FUSED: "Certainty: all together"}
_ALONE = "certainty:"
_COLUMN = "column:"


class LayerSource:
    """Makes layers of an `Exploration`; it reads its traits and sets none.

    Keys of layers: ``"pca"``, ``"axes"``, ``"certainty"``, ``"certainty:<modality>"``, ``"column:<name>"`` (of a table of
    points), ``"similarity"``, ``"scene"`` and those of `georeset_lab.widgets.map_layers.MAPS`.
    """

    def __init__(self, state: Exploration) -> None:
        self._state = state
        self._kept: OrderedDict[Any, Layer] = OrderedDict()
        self._predicted: set[str] = set()

    def choices(self) -> list[tuple[str, str]]:
        """Name and key of every layer there is now.

        What a probe once said can be chosen until there is no prediction at all: it comes part by part, the classes
        first and their doubts later.
        """
        state = self._state
        found = set() if state.prediction is None else set(layers.layers_of(state.prediction))
        self._predicted = found if state.prediction is None else self._predicted | found
        keys = [PCA, AXES, FUSED, *(f"{_ALONE}{m}" for m in _several(state.emb.modalities))]
        keys += [f"{_COLUMN}{name}" for name in self.columns]
        keys += [SIMILARITY] * (state.similarity is not None)
        if state.prediction is not None:
            keys += [name for name in layers.MAPS if name in self._predicted]
        keys += [SCENE] * (state.scene is not None)
        return [(self.title(key), key) for key in keys]

    def title(self, key: str) -> str:
        """Name of a layer."""
        if key.startswith(_ALONE):
            return f"Certainty: {label_of(key.removeprefix(_ALONE))} alone"
        if key.startswith(_COLUMN):
            return f"Given: {key.removeprefix(_COLUMN)}"
        return {**_TITLES, **layers.MAPS, SIMILARITY: "Similarity", SCENE: "Scene"}[key]

    def first(self) -> Layer:
        """The picture that is there at once; coarse if the map is large."""
        made = layers.coarse_colour_layer(_TITLES[PCA], self._state.emb, self.sample, self.pca)
        if self.sample.step == 1:
            self._kept[PCA, tuple(self._state.emb.modalities), ()] = made
        return made

    def pending(self, key: str) -> bool:
        """Whether the layer is a part of a prediction that has not come yet."""
        prediction = self._state.prediction
        return key in layers.MAPS and prediction is not None and key not in layers.layers_of(prediction)

    def ready(self, key: str, axes: tuple[int, ...], colours: Mapping[str, str]) -> Layer | None:
        """The layer, if it is there or made in a blink; None if `job` is needed."""
        state = self._state
        if key == SIMILARITY:
            return layers.similarity_layer(state.similarity, state.emb.grid)
        if key in layers.MAPS:
            return layers.prediction_layer(state.prediction, key, state.emb.grid, colours)
        return self._kept.get(self._name(key, axes))

    def job(self, key: str, axes: tuple[int, ...]) -> Callable[[], Layer]:
        """What makes the layer, in a thread; the exploration may change meanwhile."""
        state, name, title = self._state, self._name(key, axes), self.title(key)
        emb, scene = state.current, state.scene

        def make() -> Layer:
            if key.startswith(_COLUMN):
                return layers.column_layer(title, self.columns[key.removeprefix(_COLUMN)], emb.grid)
            if key == SCENE:
                found = layers.scene_layer(scene) if scene is not None else None
                return found if found is not None else self.first()
            seen = state.emb.only(key.removeprefix(_ALONE)) if key.startswith(_ALONE) else emb
            sample = None if emb.fits_memory else self.sample if seen is state.emb else sample_map(seen, self._limit)
            if key in (PCA, AXES):
                basis = self.pca if key == PCA else axes_basis(self.sample, axes)
                if sample is not None:
                    return layers.coarse_colour_layer(title, seen, sample, basis)
                return layers.colour_layer(title, seen, basis)
            return layers.certainty_layer(title, seen, self.top, sample)

        def run() -> Layer:
            made = make()
            self._kept[name] = made
            while len(self._kept) > KEPT_LAYERS:
                self._kept.popitem(last=False)
            return made

        return run

    @cached_property
    def columns(self) -> dict[str, Column]:
        """What the table of point embeddings says beside the vectors."""
        return columns_of(self._state.emb)

    @cached_property
    def sample(self) -> Sample:
        """Some pixels of the fusion of all modalities."""
        return sample_map(self._state.emb, self._limit)

    @cached_property
    def pca(self) -> ColourBasis:
        """Colours that stay what they are when a modality is switched off."""
        return pca_basis(self.sample)

    @cached_property
    def top(self) -> float:
        """End of the scale that all certainty layers share."""
        return certainty_top(self.sample.certainty)

    @property
    def _limit(self) -> int:
        return SAMPLE_PIXELS if self._state.emb.fits_memory else LARGE_PIXELS

    def _name(self, key: str, axes: tuple[int, ...]) -> tuple[Any, ...]:
        """What a layer depends on."""
        present = self._state.present if key in (PCA, AXES, FUSED) else ()
        return key, present, axes if key == AXES else ()


def _several(modalities: tuple[str, ...]) -> tuple[str, ...]:
    return modalities if len(modalities) > 1 else ()
