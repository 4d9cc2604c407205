"""Memory of a replica: by hand, and against the optimizers of the library."""

import math

import pytest

from simclr_tf2 import config as config_lib
from simclr_tf2 import models, optimizers
from simclr_tf2.config import ModelConfig, OptimizerConfig
from simclr_tf2.planning import memory
from simclr_tf2.planning.workload import POLICIES, SLOTS
from tests.planning.plans import workload

SMALL = {"resnet_depth": 50, "width_multiplier": 0.125, "image_size": 32}


@pytest.mark.parametrize("name", config_lib.OPTIMIZERS)
def test_slots_are_those_of_the_optimizer(name):
    model = models.build_simclr(
        ModelConfig(resnet_depth=10, width_multiplier=0.125), image_size=8
    )
    optimizer = optimizers.build_optimizer(
        OptimizerConfig(optimizer=name), learning_rate=0.1
    )
    optimizer.build(model.trainable_variables)
    slots = [v for v in optimizer.variables if len(v.shape)]
    numbers = sum(math.prod(v.shape) for v in slots)
    trained = sum(math.prod(v.shape) for v in model.trainable_variables)
    one_dimensional = [v for v in model.trainable_variables if len(v.shape) == 1]
    # Muon keeps two for each of these.
    further = sum(math.prod(v.shape) for v in one_dimensional) * (name == "muon")
    assert numbers == SLOTS[name] * trained + further


def test_every_optimizer_and_precision_is_planned():
    assert set(SLOTS) == set(config_lib.OPTIMIZERS)
    assert {*POLICIES, "auto"} == set(config_lib.MIXED_PRECISION)


def test_weights_gradients_and_slots_have_four_bytes_a_number():
    work = workload(**SMALL, train_batch_size=16, optimizer="adamw")
    found, counts = memory.memory(work), work.counts[0]
    assert found.weights == 4 * counts.numbers
    assert found.gradients == 4 * counts.trained
    assert found.optimizer == 2 * 4 * counts.trained
    assert found.images == 2 * 16 * 2 * 32 * 32 * 3 * 4  # as they arrive and joined
    parts = (found.weights, found.gradients, found.optimizer, found.activations)
    assert found.total == sum(parts) + found.images + found.loss


def test_averages_of_the_weights_are_one_more_copy():
    work = workload(**SMALL, train_batch_size=16)
    averaged = workload(**SMALL, train_batch_size=16, weights_ema=0.99)
    copy = 4 * work.counts[0].numbers
    assert memory.memory(averaged).total == memory.memory(work).total + copy
    more = memory.checkpoint_bytes(averaged) - memory.checkpoint_bytes(work)
    assert more == copy


def test_the_similarities_grow_with_rows_times_columns_unless_in_blocks():
    # 2 replicas of 4 images: 8 rows and 16 columns of 128 numbers.
    whole = workload(2, **SMALL, train_batch_size=8, loss_block_size="off")
    gathered = 2 * 16 * 128 * 4
    assert memory.loss_bytes(whole) == gathered + 2.75 * 8 * 16 * 4
    blocks = workload(2, **SMALL, train_batch_size=8, loss_block_size=2)
    expected = gathered + (3 * 8 * 2 + 3 * 2 * 16 / 2) * 4
    assert memory.loss_bytes(blocks) == expected
    others = workload(2, **SMALL, train_batch_size=8, loss="nt_logistic")
    assert memory.loss_bytes(others) == gathered + 4 * 8 * 8 * 4
    assert memory.loss_bytes(workload(mode="finetune", **SMALL)) == 0


@pytest.mark.parametrize(("batch", "blockwise"), [(256, False), (1024, True)])
def test_auto_uses_blocks_where_the_loss_does(batch, blockwise):
    assert workload(**SMALL, train_batch_size=batch).blockwise is blockwise


def test_recomputing_and_micro_batches_save_activations():
    plain = memory.memory(workload(**SMALL, train_batch_size=64))
    for flags, most in (
        ({"remat": "groups"}, 0.7),
        ({"remat": "blocks"}, 0.6),
        ({"micro_batch_size": 16}, 0.26),
    ):
        found = memory.memory(workload(**SMALL, train_batch_size=64, **flags))
        assert found.activations < most * plain.activations, flags
    # Micro-batches sum their gradients in a second copy.
    assert found.gradients == 2 * plain.gradients


def test_a_compiled_step_keeps_less():
    work = workload(**SMALL, train_batch_size=64)
    whole, compiled = memory.memory(work), memory.memory(work, compiled=True)
    assert compiled.activations < 0.85 * whole.activations
    assert compiled.loss == whole.loss


def test_a_checkpoint_holds_network_and_optimizer():
    work = workload(**SMALL, optimizer="lars")
    counts = work.counts[0]
    assert memory.checkpoint_bytes(work) == 4 * (counts.numbers + counts.trained)
