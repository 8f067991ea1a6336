"""Progress inside one image, the estimate, and the word while a network is compiled."""

import numpy as np
import pytest

import mnist_xai as mx
from mnist_xai.interpret import METHODS
from mnist_xai.interpret.core import progress
from mnist_xai.interpret.core.progress import PassBar, advance, compiling, heard_by


class Heard:
    def __init__(self):
        self.passes, self.compiled = [], 0

    def advance(self, passes):
        self.passes.append(passes)

    def compiling(self):
        self.compiled += 1


SEVERAL_STEPS = ("smoothgrad", "integrated_gradients", "occlusion", "rise", "lime", "scorecam")


@pytest.mark.parametrize("name", SEVERAL_STEPS)
def test_as_many_passes_are_heard_of_as_the_method_states_and_in_several_steps(name, cnn, images):
    network, heard = mx.Network(cnn, batch_size=2), Heard()
    method = METHODS[name]
    with heard_by(heard):
        method(network, images[:1], np.zeros(1, np.int32))
    assert sum(heard.passes) == method.passes(network)
    assert len(heard.passes) > 1


def test_the_bar_counts_passes_and_ends_at_their_number(network, images, capsys):
    mx.explain(network, images[:2], method="integrated_gradients", progress=True)
    shown = capsys.readouterr().out
    assert "512/512" in shown
    assert "min:" not in shown


def clock(monkeypatch, step):
    """Let each look at the clock take some seconds."""
    now = iter(np.arange(1000) * step)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))


def test_what_takes_longer_than_a_minute_is_announced_with_passes_times_time_per_pass(
    monkeypatch, capsys
):
    bar = PassBar(3, 100, "gradient")
    clock(monkeypatch, 10)
    bar.advance(10)  # With compiling; from now on, 10 s for 10 passes.
    bar.advance(10)
    bar.advance(10)
    shown = capsys.readouterr().out
    assert shown.count("min") == 1
    assert "about 5 min: 100 gradient passes for each of 3 images" in shown


def test_what_is_short_is_not_announced_and_the_bar_never_passes_its_end(monkeypatch, capsys):
    bar = PassBar(1, 10, "forward")
    clock(monkeypatch, 1)
    for _ in range(4):
        bar.advance(5)
    assert "10/10" not in capsys.readouterr().out
    bar.finish(1)
    shown = capsys.readouterr().out
    assert "10/10" in shown
    assert "min" not in shown


def test_compiling_is_told_once_and_only_when_it_takes_long(monkeypatch, capsys):
    bar = PassBar(1, 10, "forward")
    with heard_by(bar), compiling():
        pass
    assert "compiling" not in capsys.readouterr().out
    bar.compiling()
    bar.compiling()
    assert capsys.readouterr().out.count("compiling the network") == 1


def test_nobody_hears_outside_the_block():
    heard = Heard()
    with heard_by(heard):
        advance(3)
    advance(4)
    assert heard.passes == [3]
