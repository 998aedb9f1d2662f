"""Pieces of work in threads: each once, as without threads, and torch is left as it was found."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from georeset_lab.data.bands import band_table
from georeset_lab.data.sensors import sensor
from georeset_lab.models.core import WHOLE
from georeset_lab.models.encoder import Encoder
from georeset_lab.models.threads import in_threads

CPU = torch.device("cpu")


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_each_piece_is_done_once_in_threads_of_one_torch_thread_each():
    met, seen, together = [], set(), threading.Barrier(3)

    def work(i):
        if i < 3:
            together.wait(30)  # three are at work at once, or this breaks
        met.append(i)
        seen.add((torch.get_num_threads(), torch.is_inference_mode_enabled()))

    with torch.inference_mode():
        in_threads(work, range(20), CPU)
    assert sorted(met) == list(range(20))
    assert seen == {(1, True)}


@pytest.mark.usefixtures("three_threads")
def test_torch_keeps_its_number_of_threads_also_for_threads_to_come():
    with torch.inference_mode():
        in_threads(lambda _: None, range(5), CPU)
    assert torch.get_num_threads() == 3
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == 3


@pytest.mark.usefixtures("three_threads")
def test_an_error_is_raised_when_what_has_begun_has_ended_and_nothing_more_begins():
    begun, ended, failed = [], [], threading.Event()

    def work(i):
        begun.append(i)
        if i == 0:
            failed.set()
            raise ValueError("piece 0")
        failed.wait(30)
        time.sleep(0.02)
        ended.append(i)

    with torch.inference_mode(), pytest.raises(ValueError, match="piece 0"):
        in_threads(work, range(3000), CPU)
    assert sorted(begun) == sorted([0, *ended])
    assert len(begun) < 1000
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_where_gradients_may_be_wanted_or_on_another_device_pieces_follow_each_other_here(device):
    where = []
    with torch.inference_mode(device != "cpu"):
        in_threads(lambda i: where.append((i, threading.get_ident())), range(6), torch.device(device))
    assert where == [(i, threading.get_ident()) for i in range(6)]


@pytest.mark.parametrize("holes", [False, True])
def test_an_encoder_says_the_same_with_any_number_of_threads(holes):
    torch.manual_seed(0)
    encoder = Encoder().eval()
    table = torch.from_numpy(band_table(sensor("sentinel-2-l2a").bands))
    x = 0.2 + 0.1 * torch.rand(2, len(table), 120, 192)
    if holes:
        x[0, :, 30:50, 40:80] = torch.nan
        x[1, 3, 90:, :50] = torch.nan
    days, before = torch.tensor([40.0, 220.0]), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            found.append(encoder.dense(x, table, cell_m=60.0, day_of_year=days, core=WHOLE))
    finally:
        torch.set_num_threads(before)
    for one, many in zip(*found, strict=True):
        torch.testing.assert_close(many, one, rtol=1e-5, atol=1e-5)
