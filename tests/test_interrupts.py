"""The first signal is a request, the second ends at once, and afterwards everything is as it was."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from dce_ray.commandline import UNFORESEEN, status_of
from dce_ray.errors import OutputError
from dce_ray.interrupts import INTERRUPTED, STOPPING, ends_at_once, nothing_asked, stop_on_signal


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
    with pytest.raises(KeyboardInterrupt) as second:
        work()
    assert ends_at_once(second.value)
    nothing_asked()
    assert not ends_at_once(KeyboardInterrupt())  # of what comes next, before it can be asked, it is the first
    asked.clear()
    with pytest.raises(KeyboardInterrupt) as second:
        work()
    assert ends_at_once(second.value)
    with stop_on_signal(request):
        assert not ends_at_once(KeyboardInterrupt())  # of this work, too
    assert asked == [number, number]
    assert capfd.readouterr().err == 2 * STOPPING.decode()  # once each
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


@pytest.mark.parametrize("command", [["dce_ray.search"], ["dce_ray.train"], ["dce_ray", "store"]])
def test_ctrl_c_while_a_command_is_imported_is_one_line(command, tmp_path):
    words = [sys.executable, "-X", "importtime", "-m", *command, "baseline=delu"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "dce_ray.errors" in line:  # among the first of all modules that are imported
                process.send_signal(signal.SIGINT)
                break
        rest = [line for line in process.stderr if not line.startswith("import time:")]
        assert process.wait(60) == 130
    assert rest == ["interrupted\n"]


def test_a_library_is_not_given_our_handler():
    code = "import signal, dce_ray; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_a_second_signal_breaks_is_still_an_interruption(capsys):
    def work(arguments):
        with stop_on_signal(lambda: False):
            with contextlib.suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
            raise RuntimeError("the connection is gone")

    assert status_of(work, "", []) == 130
    told = capsys.readouterr().err
    assert re.fullmatch(
        r"interrupted in the middle of something: RuntimeError: the connection is gone \(.*interrupts\.py:\d+\)\n", told
    )

    def renaming(arguments):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as fault:
            raise ValueError("half of it is missing") from fault

    assert status_of(renaming, "", []) == 130
    assert capsys.readouterr().err == "interrupted\n"
    with pytest.raises(ValueError, match="nothing to do with it"):
        status_of(lambda arguments: (_ for _ in ()).throw(ValueError("nothing to do with it")), "", [])


FAULTY = """
from dce_ray.commandline import command
def main(arguments):
    try:
        raise KeyboardInterrupt
    finally:
        {}["a key that the program forgot"]
command(main, "")
"""


def test_a_fault_of_the_program_after_ctrl_c_keeps_its_traceback_and_its_status():
    ended = subprocess.run([sys.executable, "-c", FAULTY], capture_output=True, text=True, check=False)
    assert ended.returncode == UNFORESEEN
    assert "KeyError: 'a key that the program forgot'" in ended.stderr
    assert 'File "<string>", line 7, in main' in ended.stderr


def test_a_message_after_ctrl_c_is_told_and_is_still_an_interruption(capsys):
    def main(arguments):
        try:
            raise KeyboardInterrupt
        finally:
            raise OutputError("the disk is full")

    assert status_of(main, "", []) == 130
    assert capsys.readouterr().err == "OutputError: the disk is full\ninterrupted\n"


def test_the_second_ctrl_c_does_not_wait_for_what_libraries_do_at_the_end():
    code = (
        "import atexit, os, signal, time\n"
        "from dce_ray.commandline import command\n"
        "from dce_ray.interrupts import stop_on_signal\n"
        "atexit.register(lambda: time.sleep(60))\n"
        "def work(arguments):\n"
        "    with stop_on_signal(lambda: True):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('kept')\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
        "command(work, 'usage')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50)
    assert (run.returncode, run.stdout) == (130, "kept\n")
    assert run.stderr.endswith("\ninterrupted\n")


TERMINATED = """
import os, signal, sys, time
from pathlib import Path
from dce_ray.commandline import command
from dce_ray.session.ray_session import ray_session

def end():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)

def main(arguments):
    try:
        with ray_session(None, Path(arguments[1]), 1):
            if arguments[0] == "inside":
                end()
        end()
    finally:
        print("in order")

command(main, "")
"""


@pytest.mark.ray
@pytest.mark.parametrize("where", ["inside", "behind"])
def test_sigterm_is_ctrl_c_also_behind_ray(tmp_path, where):
    """Ray takes the signal for its own, and when it ends leaves it to the kernel: a report would never be written."""
    words = [sys.executable, "-c", TERMINATED, where, str(tmp_path / "ray.log")]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)
    assert (ended.returncode, ended.stdout.splitlines()[-1:]) == (INTERRUPTED, ["in order"]), ended.stderr
    assert ended.stderr.splitlines()[-1] == "interrupted"
