"""From a `Dataset` to batches: order, reading, fitting, caches, augmentation, mixing, balance."""
