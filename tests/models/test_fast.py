"""The fast form says nearly the same, shares what it does not change, and leaves the encoder as it was."""

import pytest
import torch

from georeset_lab.compiled import compiled
from georeset_lab.data.bands import band_table
from georeset_lab.data.sensors import sensor
from georeset_lab.models.bfloat import as_numpy, narrow, widen
from georeset_lab.models.checkpoint import load_model
from georeset_lab.models.core import WHOLE
from georeset_lab.models.fast import InBfloat16, fast_form, has_bfloat16


def _copy(source, target):
    for i in range(len(source)):
        target[i] = narrow(widen(source[i]), target[i])


_copy_loop = compiled(_copy)


def test_bfloat16_in_compiled_loops_is_torchs():
    exact = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 10 ** torch.linspace(-30, 30, 1000)
    exact[:3] = torch.tensor([0.0, -0.0, 1.00390625])  # the last one is halfway: to the even one
    rounded, back = torch.empty(1000, dtype=torch.bfloat16), torch.empty(1000)
    _copy_loop(as_numpy(exact), as_numpy(rounded))
    assert torch.equal(rounded, exact.to(torch.bfloat16))
    _copy_loop(as_numpy(rounded), as_numpy(back))
    assert torch.equal(back, rounded.float())


@pytest.fixture(scope="module")
def table():
    return torch.from_numpy(band_table(sensor("sentinel-2-l2a").bands))


def test_it_is_near_and_the_encoder_stays(table):
    encoder = load_model("default").encoder
    before = {name: z.clone() for name, z in encoder.state_dict().items()}
    fast = fast_form(encoder)
    x = torch.rand(2, 12, 96, 120, generator=torch.Generator().manual_seed(0)) * 0.4
    x[:, :, 10:30, 40:70] = torch.nan
    days = torch.tensor([40.0, 200.0])
    slow, quick = (e.dense(x, table, cell_m=60.0, day_of_year=days, core=WHOLE) for e in (encoder, fast))
    seen = slow.tau[..., 0] > 0
    cosine = torch.cosine_similarity(slow.mean[seen], quick.mean[seen], -1)
    assert cosine.mean() > 0.9999
    assert cosine.min() > 0.999
    assert not torch.equal(slow.mean, quick.mean)
    assert (quick.tau[~seen] == 0).all()
    assert encoder.products is torch.float32
    assert not any(isinstance(m, InBfloat16) for m in encoder.modules())
    after = encoder.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], z) for name, z in before.items())
    assert fast.head.local is encoder.head.local, "what is read elsewhere is shared"


def test_no_device_is_said_to_have_what_it_lacks(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    assert not has_bfloat16(torch.device("cpu"))
    assert not has_bfloat16(torch.device("meta"))
