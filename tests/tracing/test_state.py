"""Whatever happens to a context of tracing, all names are as before, and others are undisturbed."""

import asyncio
import builtins
import contextlib
import dis
import gc
import math
import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import helper
import numpy as np
import pypulseq as pp
import pytest
import torch

import pulseq_zero as pz
from pulseq_zero.errors import TracingError
from pulseq_zero.tracing import trace, traced_numpy, tracing
from pulseq_zero.tracing.tape import recording as recordings
from pulseq_zero.tracing.tape.recording import is_recording

OF_THIS_LIBRARY = str(Path(recordings.__file__).parents[1])


def tensor(value):
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def names():
    return {
        (module, name): value
        for module in (
            __name__,
            "helper",
            "pypulseq",
            "pypulseq.make_delay",
            "numpy",
            "math",
            "builtins",
        )
        for name, value in vars(sys.modules[module]).items()
        if name != "_"
    }


@pytest.fixture(autouse=True)
def nothing_is_left():
    before = names()
    yield
    assert names() == before
    assert not is_recording()
    assert not recordings._open
    with tracing():
        assert pp.make_delay(2 * tensor(1e-3)).delay == 2e-3


def traced():
    with tracing() as tape:
        yield tape


def in_a_thread(function):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result(timeout=10)


def test_a_generator_is_closed_by_another_thread():
    generator = traced()
    next(generator)
    in_a_thread(generator.close)
    assert not is_recording()
    in_a_thread(lambda: trace(helper.trapezoid, {"area": tensor(100.0)}))


def test_a_generator_goes_on_in_another_thread():
    """That thread does not record, and nobody does once it has come to the end."""

    def numbers():
        with tracing():
            x = 2 * tensor(1e-3)
            yield pp.make_delay(x)
            yield pp.make_delay(1e-3)

    generator = numbers()
    next(generator)
    assert type(in_a_thread(lambda: next(generator)).delay) is float
    assert is_recording()
    assert in_a_thread(lambda: list(generator)) == []
    assert not is_recording()


def test_a_context_that_nobody_holds_is_over():
    context = tracing()
    context.__enter__()
    assert is_recording()
    del context
    gc.collect()
    assert not is_recording()


def test_a_context_is_entered_once():
    context = tracing()
    with context, pytest.raises(TracingError, match="is entered once: make another one"):
        context.__enter__()
    with pytest.raises(TracingError, match="is entered once: make another one"):
        context.__enter__()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_while_another_thread_traces():
    started, ended = threading.Event(), threading.Event()

    def work():
        with tracing():
            started.set()
            ended.wait()

    before = names()
    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    try:
        assert of_a_child(lambda: names() == before and not is_recording() and is_traced_here())
    finally:
        ended.set()
        thread.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forks_while_another_thread_begins_and_ends():
    over = threading.Event()

    def work():
        while not over.is_set():
            with tracing():
                pass

    before = names()
    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert all(of_a_child(lambda: names() == before and is_traced_here()) for _ in range(10))
    finally:
        over.set()
        thread.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_within_a_context_goes_on_with_it():
    with tracing():
        assert of_a_child(lambda: is_recording() and is_traced_here())


def is_traced_here():
    with tracing() as tape:
        pp.make_delay(2 * tensor(1e-3))
        return bool(tape.records)


def of_a_child(function):
    """Whether a function holds in a forked process, within ten seconds."""
    context = multiprocessing.get_context("fork")
    process = context.Process(target=lambda: os._exit(0 if function() else 1))
    process.start()
    process.join(10)
    code = process.exitcode
    process.kill()
    return code == 0


def test_contexts_are_left_out_of_order():
    first, second = traced(), traced()
    tape = next(first)
    assert next(second) is tape
    first.close()
    assert is_recording()
    assert helper.np is traced_numpy
    second.close()
    assert not is_recording()


def test_contexts_with_tapes_of_their_own_are_left_out_of_order():
    outer, inner = (recordings.recording(recordings.Tape()) for _ in range(2))
    stack = contextlib.ExitStack()
    stack.enter_context(tracing())
    kept = [outer.__enter__(), inner.__enter__()]
    outer.__exit__(None, None, None)
    assert recordings.current_tape() is kept[1]
    stack.close()
    assert recordings.current_tape() is kept[1]
    inner.__exit__(None, None, None)


def test_other_importers_that_stay_or_come_and_go_are_left_alone():
    plain = builtins.__import__

    def wrapped(inner):
        return lambda *args, **options: inner(*args, **options)

    try:
        with tracing():
            builtins.__import__ = stays = wrapped(builtins.__import__)
        assert builtins.__import__ is stays
        with tracing():
            assert in_function() is traced_numpy
        assert in_function() is np
        assert builtins.__import__ is stays
    finally:
        builtins.__import__ = plain


def in_function():
    import numpy

    return numpy


def test_names_that_the_script_changes_stay_changed():
    script = {"__name__": "script", "__file__": "script.py", "np": np, "pp": pp, "tracing": tracing}
    exec("with tracing():\n    kept = pp is not np\n    np = 3\n    del pp", script)
    assert script["np"] == 3
    assert "pp" not in script
    assert script["kept"]


SCRIPT = """
def run():
    with tracing():
        np, pp
"""


def interrupt_at(number, function):
    """Call a function, and interrupt it in tracing, at one of the places where signals come in.

    These are the start of a function, the end of a call and of a loop's turn.
    """
    count, last = 0, {}

    def follow(frame, event, argument):
        nonlocal count
        if not frame.f_code.co_filename.startswith(OF_THIS_LIBRARY):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "call" or (event == "opcode" and last[id(frame)].startswith(("CALL", "JUMP"))):
            count += 1
            if count == number:
                signal.raise_signal(signal.SIGINT)
        # by its id: a frame that is kept keeps what it knows
        last[id(frame)] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
        return follow

    before = sys.gettrace()
    # Processes that share out the tests ignore it
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.settrace(follow)
    try:
        function()
    except KeyboardInterrupt as interrupt:
        return interrupt
    finally:
        sys.settrace(before)
        signal.signal(signal.SIGINT, handler)
    return None


def test_an_interrupt_at_any_instruction_on_the_way_in_and_out():
    """Ctrl-C at each of them in turn; names are back before anybody has seen the traceback."""
    script = {"__name__": "script", "__file__": "script.py", "np": np, "pp": pp, "tracing": tracing}
    exec(SCRIPT, script)
    run, before, plain_import = script["run"], dict(script), builtins.__import__
    number = 1
    while interrupt := interrupt_at(number, run):
        left = {name: value for name, value in script.items() if before.get(name) is not value}
        assert not left, f"at instruction {number}"
        assert builtins.__import__ is plain_import
        assert not is_recording()
        assert not recordings._open
        del interrupt
        number += 1
    assert number > 100


def test_tasks_have_tapes_of_their_own():
    async def task(turn):
        with tracing() as tape:
            await turn
            pp.make_delay(2 * tensor(1e-3))
            await asyncio.sleep(0)
            return tape

    async def main():
        tapes = await asyncio.gather(*(task(asyncio.sleep(0)) for _ in range(3)), plain())
        return tapes[:-1]

    async def plain():
        await asyncio.sleep(0)
        return type(pp.make_delay(1e-3).delay) is float and type(np.zeros(1)) is np.ndarray

    tapes = asyncio.run(main())
    assert len(set(map(id, tapes))) == 3
    assert all(len(tape.inputs) == 1 for tape in tapes)


def test_a_task_that_outlives_the_context_does_not_record():
    async def later():
        first = is_recording()
        await asyncio.sleep(0)
        return first, is_recording()

    async def main():
        with tracing():
            task = asyncio.create_task(later())
            await asyncio.sleep(0)
        return await task

    assert asyncio.run(main()) == (True, False)


def test_a_thread_with_the_context_of_another_does_not_record():
    async def main():
        with tracing():
            x = pp.make_delay(tensor(1e-3)).delay
            assert not await asyncio.to_thread(is_recording)
            return await asyncio.to_thread(lambda: x + 1)

    with pytest.raises(TracingError, match="in another thread"):
        asyncio.run(main())


def test_threads_trace_at_the_same_time():
    barrier = threading.Barrier(4, timeout=10)

    def work(area):
        def script(area):
            barrier.wait()
            return helper.trapezoid(area * math.sqrt(np.array([4.0])[0]))

        traced = trace(script, {"area": tensor(area)})
        barrier.wait()
        return float(traced.result.area.value), len(traced.tape.inputs)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, [100.0, 101.0, 102.0, 103.0]))
    assert found == [(2 * area, 1) for area in (100.0, 101.0, 102.0, 103.0)]


def change(owner, name):
    setattr(owner, name, None)


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("pypulseq.make_delay", lambda: pp),
        ("pypulseq.opts.Opts", lambda: pp.opts),
        ("numpy.zeros", lambda: np),
        ("numpy.fft.fft", lambda: np.fft),
        ("math.sqrt", lambda: math),
        ("Sequence.write", lambda: pp.Sequence),
        ("pulseq_zero.make_delay", lambda: pz),
    ],
)
def test_what_stands_in_for_others_cannot_be_changed(name, owner):
    attribute = name.split(".")[-1]
    for act in (lambda: change(owner(), attribute), lambda: delattr(owner(), attribute)):
        with (
            tracing(),
            pytest.raises(
                TracingError,
                match=rf"^{name} cannot be changed inside of tracing: change it before",
            ),
        ):
            act()


def test_names_of_what_stands_in_for_others_are_for_reading():
    for module in (lambda: pp, lambda: np, lambda: math, lambda: pz):
        with tracing():
            assert vars(module())["__name__"] == module().__name__
            with pytest.raises(TypeError, match="does not support item assignment"):
                vars(module())["make_delay"] = None
            with pytest.raises(AttributeError):
                vars(module()).update(make_delay=None)
        with tracing():
            assert pp.make_delay(tensor(1e-3)).delay == 1e-3


PLAIN_DELAY = pp.make_delay


def twice_as_long(delay):
    return PLAIN_DELAY(2 * delay)


def test_what_is_changed_before_is_followed(monkeypatch):
    monkeypatch.setattr(pp, "make_delay", twice_as_long)
    with tracing() as tape:
        assert pp.make_delay(tensor(1e-3)).delay == 2e-3
        assert tape.inputs
