"""From image files, MedMNIST archives, folders and manifests to batches: everything becomes one `Dataset`."""
