"""Run by TensorFlow 2.15, not by medzoo's environment: load both files, compare every tensor, train a step."""

import sys

import h5py
import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa

by_order, by_name = sys.argv[1:]


def check(model: tf.keras.Model, path: str, head: str) -> None:
    """Compare every weight of a model with the file's dataset of its name."""
    with h5py.File(path) as file:
        for weight in model.weights:
            name = weight.name.replace("predictions/", f"{head}/")
            values = file[name.split("/")[0]][name][()]
            assert np.array_equal(values, weight.numpy()), weight.name
            assert values.std() > 0 or values.ndim == 1, weight.name
    print(
        f"{path}: {len(model.weights)} tensors equal in tf.keras.applications.ResNet50, TensorFlow {tf.__version__}"
    )


network = tf.keras.applications.ResNet50(weights=None, classifier_activation=None)
network.load_weights(by_order)
check(network, by_order, head="head")

network = tf.keras.applications.ResNet50(weights=None, classifier_activation=None)
network.load_weights(by_name, by_name=True)
check(network, by_name, head="predictions")

loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
network.compile(tfa.optimizers.LAMB(1e-3), loss)
before = network.get_layer("conv1_conv").kernel.numpy()
rng = np.random.default_rng(0)
images = rng.normal(size=(2, 224, 224, 3)).astype("float32")
history = network.fit(images, np.array([1, 2]), epochs=1, verbose=0).history
assert np.isfinite(history["loss"][0])
assert not np.array_equal(before, network.get_layer("conv1_conv").kernel.numpy())
print(f"one step with tensorflow-addons {tfa.__version__}: loss {history['loss'][0]:.3f}")
