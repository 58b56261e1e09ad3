from threading import Event, Timer

import pytest

from dataset_diffusion.machine.background import InBackground


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_work_in_the_background_is_in_order_and_never_far_behind(depth):
    done, started = [], Event()
    with InBackground(depth) as background:
        background.submit(started.wait)
        for number in range(depth - 1):
            background.submit(done.append, number)
        started.set()
        for number in range(depth - 1, 10):
            background.submit(done.append, number)
            assert len(done) >= number + 1 - depth
    assert done == list(range(10))


def test_what_fails_in_the_background_ends_the_block():
    with pytest.raises(ZeroDivisionError), InBackground() as background:
        background.submit(lambda: 1 / 0)


def test_an_interrupted_block_waits_for_the_piece_in_progress_alone():
    done, started, interrupted = [], Event(), Event()

    def finish_late():
        started.set()
        interrupted.wait()
        done.append("in progress")

    def interrupt_the_block():
        with InBackground() as background:
            background.submit(finish_late)
            background.submit(done.append, "waiting")
            started.wait()
            Timer(0.1, interrupted.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt_the_block()
    assert done == ["in progress"]
