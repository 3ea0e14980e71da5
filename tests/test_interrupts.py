"""The first signal is a request, the second ends at once, and afterwards everything is as it was."""

import os
import signal
import threading

import pytest

from dce_ray.interrupts import STOPPING, stop_on_signal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_asks_and_second_ends(number, capfd):
    asked = []

    def request():
        asked.append(number)
        return len(asked) == 1

    def work():
        with stop_on_signal(request):
            os.kill(os.getpid(), number)
            assert asked == [number]
            os.kill(os.getpid(), number)
            pytest.fail("the second signal was swallowed")

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        work()
    assert asked == [number, number]
    assert capfd.readouterr().err.strip() == STOPPING.decode().strip()  # once
    assert signal.getsignal(number) is before


def test_other_threads_change_nothing():
    seen = []

    def work():
        with stop_on_signal(lambda: True):
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
