"""The tokenizer's invariances: order, number, duplication, gaps and small shifts of bands."""

from __future__ import annotations

import pytest
import torch

from georeset_lab.data.bands import N_KINDS as CODES
from georeset_lab.data.bands import band_table
from georeset_lab.data.sensors import sensor
from georeset_lab.errors import ShapeMismatch
from georeset_lab.models import spectral
from georeset_lab.models.normalise import N_KINDS
from georeset_lab.models.spectral import N_FIXED, SpectralBasis, is_even
from georeset_lab.models.spectrum import WAVELENGTHS_UM


@pytest.fixture(scope="module")
def basis() -> SpectralBasis:
    torch.manual_seed(0)
    return SpectralBasis(10).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def table() -> torch.Tensor:
    return torch.from_numpy(band_table(sensor("sentinel-2-l2a").bands))


def _pixels(c: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(2, c, 5, 4, generator=torch.Generator().manual_seed(seed)) * 0.5


def test_kind_codes_of_bands_and_tokenizer_agree() -> None:
    assert CODES == N_KINDS


def test_order_of_bands_does_not_matter(basis: SpectralBasis, table: torch.Tensor) -> None:
    x, order = _pixels(12), torch.randperm(12, generator=torch.Generator().manual_seed(1))
    for a, b in zip(basis(x, table)[:2], basis(x[:, order], table[order])[:2], strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_duplicating_every_band_changes_nothing(basis: SpectralBasis, table: torch.Tensor) -> None:
    x = _pixels(12)
    values, _, _ = basis(x, table)
    doubled, _, _ = basis(torch.cat([x, x], 1), torch.cat([table, table]))
    torch.testing.assert_close(values, doubled, atol=2e-6, rtol=0)


def test_duplicating_one_band_changes_far_less_than_deleting_it(basis: SpectralBasis, table: torch.Tensor) -> None:
    x = _pixels(12)
    values, _, _ = basis(x, table)
    lonely = 10  # B11: overlaps no other band
    twice, _, _ = basis(torch.cat([x, x[:, [lonely]]], 1), torch.cat([table, table[[lonely]]]))
    rest = [c for c in range(12) if c != lonely]
    gone, _, _ = basis(x[:, rest], table[rest])
    assert (twice - values).abs().median() < 0.1 * (gone - values).abs().median()


@pytest.mark.parametrize("whole", [True, False])
def test_a_masked_band_equals_an_absent_one(basis: SpectralBasis, table: torch.Tensor, whole: bool) -> None:
    x = _pixels(12)
    where = torch.ones(5, 4, dtype=torch.bool) if whole else torch.rand(5, 4) > 0.5
    rest = [c for c in range(12) if c != 3]
    masked = x.clone()
    masked[:, 3][:, where] = float("nan")
    absent, full = basis(x[:, rest], table[rest])[:2], basis(x, table)[:2]
    for got, without, complete in zip(basis(masked, table)[:2], absent, full, strict=True):
        torch.testing.assert_close(got[..., where], without[..., where], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(got[..., ~where], complete[..., ~where], atol=1e-6, rtol=1e-5)


def test_a_pixel_without_any_band_is_zero_with_zero_cover(basis: SpectralBasis, table: torch.Tensor) -> None:
    x = _pixels(12)
    x[0, :, 2, 2] = float("nan")
    values, cover, _ = basis(x, table)
    assert float(values[0, :, 2, 2].abs().max()) == 0.0
    assert float(cover[0, :, 2, 2].max()) == 0.0
    untouched = torch.ones(5, 4, dtype=torch.bool)
    untouched[2, 2] = False
    torch.testing.assert_close(values[0][:, untouched], basis(_pixels(12), table)[0][0][:, untouched])


def test_a_small_shift_of_wavelength_moves_little_and_a_large_one_a_lot(
    basis: SpectralBasis, table: torch.Tensor
) -> None:
    x = _pixels(12)
    values, _, _ = basis(x, table)
    moved = []
    for shift in (0.001, 0.2):
        other = table.clone()
        other[:, 0] += shift
        moved.append(float((basis(x, other)[0] - values).abs().mean()))
    assert moved[0] < 0.1 * moved[1]
    assert moved[1] > 0.1 * float(values.std())


@pytest.mark.parametrize(
    ("name", "filled", "fixed"),
    [("sentinel-1-rtc", 2, 2), ("copernicus-dem", 1, 1), ("enmap-l2a", 20, 10), ("landsat-8-l2", 21, 11)],
)
def test_any_sensor_fills_the_virtual_bands_of_its_kinds(
    basis: SpectralBasis, name: str, filled: int, fixed: int
) -> None:
    bands = sensor(name).bands
    x = _pixels(len(bands))
    before = x.clone()
    values, cover, channels = basis(x, torch.from_numpy(band_table(bands)))
    assert values.shape == (2, filled, 5, 4)
    assert channels.fixed == slice(0, fixed)
    assert int((channels.places < N_FIXED).sum()) == fixed
    assert torch.isfinite(values).all()
    assert 0 <= float(cover.min()) <= float(cover.max()) <= 1
    assert torch.equal(x, before)


def test_wider_bands_damp_the_finest_wavelength_features() -> None:
    from georeset_lab.models.spectral import _describe

    narrow, wide = (_describe(torch.tensor([[0.7, fwhm, 10.0, 0.0]]))[0, :14].abs() for fwhm in (0.01, 0.2))
    assert (wide <= narrow + 1e-7).all()
    assert wide[6] < 0.05 < narrow[6] or wide[13] < 0.05 < narrow[13]


def test_the_ten_wavelengths_of_sentinel_2_are_nearly_its_own_bands(basis: SpectralBasis, table: torch.Tensor) -> None:
    x = 0.3 + 0.02 * _pixels(12)
    values = basis(x, table)[0][:, : len(WAVELENGTHS_UM)]
    own = [1, 2, 3, 4, 5, 6, 7, 8, 10, 11]
    assert float((values - (x[:, own] - 0.18) / 0.15).abs().max()) < 0.1


def test_what_no_band_comes_near_has_little_cover(basis: SpectralBasis) -> None:
    rgb = torch.tensor([[0.66, 0.06, 10.0, 0.0], [0.56, 0.06, 10.0, 0.0], [0.48, 0.06, 10.0, 0.0]])
    values, cover, _ = basis(torch.full((1, 3, 2, 2), 0.5), rgb)
    assert float(cover[0, 8:10].max()) < 0.5 < 0.85 < float(cover[0, :3].min())
    assert float(values[0, 8:10].abs().max()) < 1 < float(values[0, :3].min())


def test_a_table_with_another_number_of_bands_is_refused(basis: SpectralBasis, table: torch.Tensor) -> None:
    with pytest.raises(ShapeMismatch, match=r"one row for each band"):
        basis(_pixels(11), table)


def test_what_a_pixel_says_does_not_depend_on_how_many_are_projected_at_once(
    basis: SpectralBasis, table: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = _pixels(12).repeat(1, 1, 3, 1)
    rows = x.shape[2] // 3
    x[:, :, rows : 2 * rows] = float("nan")  # one run complete, one without a measurement, one that lacks single bands
    x[:, 3, 2 * rows :, ::2] = float("nan")
    whole = basis(x, table)
    monkeypatch.setattr(spectral, "_AT_ONCE", 12 * rows * x.shape[3])
    for got, expected in zip(basis(x, table)[:2], whole[:2], strict=True):
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)
    complete = basis(x[:, :, :rows].repeat(1, 1, 3, 1), table)[1]
    assert is_even(complete), "where all bands were measured, one value for each is kept"
    assert not is_even(whole[1])
