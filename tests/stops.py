"""Stopping a training at a step, as Ctrl-C does, by nothing that the run would have to be resumed with."""

import contextlib
import os
import signal

import pytest

from spikeproof.train import Interrupted, loop


@contextlib.contextmanager
def stopped_at(share, number=signal.SIGINT):
    """The same, and the training must end by it."""
    with pytest.raises(Interrupted), sent_at(share, number):
        yield


@contextlib.contextmanager
def sent_at(share, number=signal.SIGINT):
    """Inside, a training is sent a real signal, once, as it begins the step at which this share of it is done."""
    train_on, sent = loop._Trainer._train_on, []

    def watched(trainer, batch, stop):
        if trainer.step / trainer.total_steps >= share - 1e-9 and not sent:
            sent.append(trainer.step)
            os.kill(os.getpid(), number)
        train_on(trainer, batch, stop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Trainer, "_train_on", watched)
        yield
