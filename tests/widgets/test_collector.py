"""The collector rests while an explorer is built, and works again afterwards."""

from __future__ import annotations

import gc
import threading

import pytest

from georeset_lab.widgets.collector import collector_rests


def test_it_works_again_only_when_the_last_of_several_threads_has_left():
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with collector_rests():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with collector_rests():
        thread.start()
        assert inside.wait(10)
        assert not gc.isenabled()
    assert not gc.isenabled()
    leave.set()
    thread.join()
    assert gc.isenabled()


def test_it_works_again_after_an_error():
    with pytest.raises(KeyError), collector_rests():
        raise KeyError
    assert gc.isenabled()


def test_one_that_the_user_switched_off_stays_off():
    gc.disable()
    try:
        with collector_rests():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
