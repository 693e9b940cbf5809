"""Write the large files that the benchmark of weights files reads: `python weights_files.py FOLDER MEGABYTES`."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import torch
from safetensors.numpy import save_file

#: A tenth of the tensors hold two thirds of the bytes, as in networks; the largest is 64 MB of 1 GB.
LARGE, SMALL = 10, 90


def make_tensors(megabytes: int) -> dict[str, np.ndarray]:
    """Make float32 tensors of that many megabytes in all, named as PyTorch names layers."""
    rng = np.random.default_rng(0)
    values = {LARGE: megabytes * 2**20 * 2 // 3 // 4 // LARGE, SMALL: megabytes * 2**20 // 3 // 4 // SMALL}
    tensors = {}
    for count, size in values.items():
        for index in range(count):
            name = f"part{count}.{index}.weight"
            tensors[name] = rng.standard_normal((size // 64, 64), dtype=np.float32)
    return tensors


def main(folder: Path, megabytes: int) -> None:
    """Write the same tensors in every format, by the format's own library."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = make_tensors(megabytes)
    torch.save({name: torch.from_numpy(values) for name, values in tensors.items()}, folder / "big.pth")
    np.savez(folder / "big.npz", **tensors)
    save_file(tensors, folder / "big.safetensors")
    with h5py.File(folder / "big.h5", "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in tensors]
        for name, values in tensors.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/kernel:0".encode()]
            group.create_dataset(f"{name}/kernel:0", data=values)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
