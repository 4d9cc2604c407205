"""How tensors cross replicas."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import distribution
from simclr_tf2.errors import ConfigError


def test_one_device_gathers_and_reduces_to_itself():
    x = tf.constant([[1.0, 2.0]])
    np.testing.assert_array_equal(distribution.all_gather(x), x)
    np.testing.assert_array_equal(distribution.all_reduce_mean(x), x)
    assert distribution.replica_count() == 1 and distribution.replica_id() == 0


def test_replicas_gather_in_order_and_average(two_replicas):
    @tf.function
    def run():
        def replica():
            own = tf.cast(distribution.replica_id(), tf.float32)[None]
            return distribution.all_gather(own), distribution.all_reduce_mean(own)

        return two_replicas.run(replica)

    gathered, mean = run()
    for value in two_replicas.experimental_local_results(gathered):
        np.testing.assert_array_equal(value, [0.0, 1.0])
    for value in two_replicas.experimental_local_results(mean):
        np.testing.assert_array_equal(value, [0.5])


@pytest.mark.parametrize(("batch", "advice"), [(7, "6 or 8"), (1, "use 2$")])
def test_a_batch_that_does_not_divide_names_its_neighbours(batch, advice):
    with pytest.raises(ConfigError, match=advice):
        distribution.per_replica_batch_size(batch, 2, "train_batch_size")


def test_gradients_of_a_step_cross_replicas_in_one_call(two_replicas, monkeypatch):
    """TensorFlow packs what it is given together into buckets."""
    import keras

    from simclr_tf2 import optimizers
    from simclr_tf2.config import OptimizerConfig

    with two_replicas.scope():
        variables = [keras.Variable(np.ones(n), name=f"v{n}") for n in (3, 5, 7)]
        optimizer = optimizers.build_optimizer(
            OptimizerConfig(optimizer="lars", weight_decay=0.0), learning_rate=1.0
        )
        optimizer.build(variables)
    calls = []
    reduce = tf.distribute.ReplicaContext.all_reduce

    def counted(context, op, values, options=None):
        calls.append(len(values))
        return reduce(context, op, values, options)

    monkeypatch.setattr(tf.distribute.ReplicaContext, "all_reduce", counted)

    def replica():
        context = tf.distribute.get_replica_context()
        mine = tf.cast(context.replica_id_in_sync_group, tf.float32) + 1
        optimizer.apply_gradients([(tf.ones(v.shape) * mine, v) for v in variables])

    two_replicas.run(replica)
    assert calls == [3, 3]  # all variables at once, in each of two replicas
    for v in variables:  # |w| / |g| = 1/3 of the summed gradient 3, times eta
        np.testing.assert_allclose(v.numpy(), 1 - 0.001 * (1 / 3) * 3, rtol=1e-6)
