"""What bands say of a spectrum: against NumPy, and against spectra that were measured."""

from __future__ import annotations

import doctest
import itertools
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from georeset_lab.data import ground
from georeset_lab.data.bands import band_table
from georeset_lab.data.sensors import sensor
from georeset_lab.models import spectrum
from georeset_lab.models.spectrum import WAVELENGTHS_UM, prior, told_by

SPECTRA = "spechomo-matched-spectra/matched_spectra_9scenes_x1000.npz"
TEN = (1, 2, 3, 4, 5, 6, 7, 8, 10, 11)
"""Of Sentinel-2's twelve bands, those that the wavelengths are the centres of."""


def _table(name: str) -> torch.Tensor:
    return torch.from_numpy(band_table([b for b in sensor(name).bands if b.kind == "reflectance"]))


@pytest.mark.parametrize("module", [spectrum, ground])
def test_the_examples_hold(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0


def test_the_prior_is_a_covariance() -> None:
    mean, covariance = prior()
    assert mean.shape == (10,)
    torch.testing.assert_close(covariance, covariance.T)
    assert float(torch.linalg.eigvalsh(covariance).min()) > 1e-4


def test_narrow_bands_at_the_wavelengths_give_the_posterior_of_a_direct_measurement() -> None:
    mean, covariance = (z.numpy() for z in prior())
    some = [0, 2, 6, 9]
    bands = torch.tensor([[WAVELENGTHS_UM[i], 0.004, 10.0, 0.0] for i in some])
    told = told_by(bands)
    picks = np.eye(10)[some]
    gain = covariance @ picks.T @ np.linalg.inv(picks @ covariance @ picks.T + 0.03**2 * np.eye(4))
    np.testing.assert_allclose(told.weight.numpy(), gain, atol=2e-4)
    np.testing.assert_allclose(told.constant.numpy(), mean - gain @ picks @ mean, atol=2e-4)
    left = np.diag(covariance - gain @ picks @ covariance)
    np.testing.assert_allclose(told.share.numpy(), 1 - np.sqrt(left / np.diag(covariance)), atol=2e-4)


def test_what_is_not_reflectance_says_nothing() -> None:
    bands = torch.cat([_table("landsat-8-l2"), torch.tensor([[10.9, 0.6, 30.0, 1.0], [0.0, 0.0, 10.0, 3.0]])])
    told, alone = told_by(bands), told_by(_table("landsat-8-l2"))
    assert float(told.weight[:, -2:].abs().max()) == 0
    torch.testing.assert_close(told.weight[:, :-2], alone.weight)


def test_more_bands_never_tell_less() -> None:
    s2 = _table("sentinel-2-l2a")
    shares = [told_by(s2[:k]).share for k in range(1, 13)]
    for fewer, more in itertools.pairwise(shares):
        assert bool((more >= fewer - 0.01).all())  # two that overlap share their weight
    assert float(shares[-1].min()) > 0.9


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "key", "worst"), [("landsat-8-l2", "oli8", 0.2), ("landsat-5-l2", "tm5", 0.25)])
def test_sensors_agree_on_measured_spectra(shared_data: Path, name: str, key: str, worst: float) -> None:
    stored = np.load(shared_data / SPECTRA)
    said = {}
    for sensor_name, k in ((name, key), ("sentinel-2-l2a", "msi2a")):
        x = stored[k].reshape(-1, stored[k].shape[-1]).astype(np.float32)
        table = _table(sensor_name)
        centres = stored[f"{k}_wavelength_nm"] / 1e3
        own = table[[int((table[:, 0] - c).abs().argmin()) for c in centres]]
        told = told_by(own)
        z = (torch.from_numpy(x) / 1e4 - 0.18) / 0.15
        said[k] = (z @ told.weight.T + told.constant, told.share, (x > -9000).all(1))
    both = said[key][2] & said["msi2a"][2]
    error = (said[key][0] - said["msi2a"][0])[both].square().mean(0).sqrt()
    spread = said["msi2a"][0][both].std(0)
    assert float(error.max()) < worst
    assert float((error / spread).max()) < 0.2
    # What a sensor says it knows least is where it is most wrong.
    assert int(error.argmax()) in said[key][1].argsort()[:3].tolist()
