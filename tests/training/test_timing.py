import torch

from activessf.training.timing import StepClock, Timing, device_name


class Trainer:
    global_step = 0


def test_the_time_of_a_training_is_parted_by_hand():
    now, trainer = [0.0], Trainer()
    clock = StepClock(lambda: now[0])

    def after(seconds: float) -> None:
        now[0] += seconds

    clock.first.on_train_start(trainer, None)
    after(2)  # a look at the untrained method
    clock.last.on_train_start(trainer, None)
    for waiting, computing, watching in ((7, 5, 0), (1, 3, 0.5), (2, 4, 0)):
        after(waiting)
        clock.first.on_train_batch_start(trainer, None)
        after(computing)
        trainer.global_step += 1
        clock.first.on_train_batch_end(trainer)
        after(watching)
        clock.last.on_train_batch_end()
    # The first batch is start-up: 7 + 5; two steps remain.
    assert clock.timing == Timing(steps=2, starting=12, computing=7, waiting=3, watching=2.5)
    assert clock.timing.seconds_per_step == 5
    assert str(clock.timing) == "5 s a step; 56% computing, 24% waiting for images, 20% probes and checkpoints"


def test_of_accumulated_batches_the_steps_count():
    now, trainer = [0.0], Trainer()
    clock = StepClock(lambda: now[0])
    clock.first.on_train_start(trainer, None)
    for step in (0, 1, 1, 2):  # two batches a step
        clock.first.on_train_batch_start(trainer, None)
        now[0] += 1
        trainer.global_step = step
        clock.first.on_train_batch_end(trainer)
        clock.last.on_train_batch_end()
    assert clock.timing.steps == 2 and clock.timing.computing == 3


def test_one_batch_is_too_short_to_be_timed():
    assert Timing(starting=3.0).seconds_per_step is None and str(Timing(starting=3.0)) == "too short to be timed"


def test_a_cpu_is_named_with_its_threads():
    name = device_name(torch.device("cpu"))
    assert name.endswith(f"{torch.get_num_threads()} thread(s)") and len(name) > 12
    assert device_name(torch.device("cpu"), 2) == f"2 x {name}"
