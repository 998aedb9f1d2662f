"""What travels in a page is what the map says, within the stated rounding and the stated size."""

from __future__ import annotations

import numpy as np
import pytest

from georeset_lab.embed.embeddings import Embeddings
from georeset_lab.embed.expert import Expert
from georeset_lab.embed.latent.packed import KNOWN_BYTES, VECTOR_BYTES, pack
from tests.widgets.planted import planted_embeddings, utm_grid


def test_every_observed_pixel_of_a_small_map_travels_with_its_vector():
    emb = planted_embeddings(20, 30)
    emb.experts["s2"].tau[:4], emb.experts["s2"].eta[:4] = 0, 0
    emb.experts["s1"].tau[:4], emb.experts["s1"].eta[:4] = 0, 0
    found = pack(emb)
    assert found.step == 1
    np.testing.assert_array_equal(found.pixels, np.arange(4 * 30, 20 * 30))
    mean = emb.vectors()[0][found.pixels]
    rounded = found.vectors.codes * found.vectors.scale
    assert np.abs(rounded - mean).max() <= 0.5 * found.vectors.scale.max() * 1.001


def test_the_stated_error_of_a_cosine_is_that_of_pairs_drawn_anew():
    emb = planted_embeddings(40, 40)
    found = pack(emb)
    mean, rounded = emb.vectors()[0], found.vectors.codes * found.vectors.scale
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (mean, rounded)]
    off = np.abs((unit[0][:500] @ unit[0][500:].T) - (unit[1][:500] @ unit[1][500:].T))
    assert 0 < np.percentile(off, 99) <= found.vectors.error <= 1.5 * off.max()
    assert found.vectors.error < 0.02


def test_certainty_comes_back_for_each_modality_and_dimension():
    emb = planted_embeddings(20, 30, dim=7, precision={"s2": 4.0, "s1": 1.0})
    tau = emb.experts["s1"].tau
    tau[..., 3] *= 0
    bits = pack(emb).known
    low, high = bits.codes & 15, bits.codes >> 4
    read = np.stack([low, high], axis=-1).reshape(600, 2, 8)[..., :7] * bits.top / 15
    for m, expert in enumerate(emb.experts.values()):
        np.testing.assert_allclose(read[:, m], (expert.tau / (1 + expert.tau)).reshape(600, 7), atol=bits.top / 25)
    assert (read[:, 1, 3] == 0).all()


def test_a_large_map_is_thinned_to_the_stated_number():
    found = pack(planted_embeddings(60, 80), most=500)
    assert found.step == 4
    rows, cols = np.divmod(found.pixels, 80)
    assert set(rows % 4) == set(cols % 4) == {0}
    assert found.pixels.size == 15 * 20 <= 500


@pytest.mark.parametrize("dim", [100, 700])
def test_what_is_too_large_for_a_page_stays_at_home(dim):
    mean = np.ones((256, 256, dim), np.float16)
    emb = Embeddings({"a": Expert(mean, mean), "b": Expert(mean, mean)}, utm_grid(256, 256))
    found = pack(emb, most=16_384 if dim == 700 else 65_536)
    assert (found.vectors is None) == (found.pixels.size * dim > VECTOR_BYTES)
    assert (found.known is None) == (found.pixels.size * dim > KNOWN_BYTES)
    assert found.vectors is None


def test_an_unknown_variance_is_no_number():
    emb = Embeddings({"x": Expert.of_mean(np.ones((5, 5, 3), np.float32))}, utm_grid(5, 5))
    assert pack(emb).known is None
