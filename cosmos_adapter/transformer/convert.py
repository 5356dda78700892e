"""From an official checkpoint to safetensors shards and a ``config.json`` that ``from_pretrained`` reads."""

import os
import shutil
import tempfile
from pathlib import Path

from cosmos_adapter.transformer.weights import load_network
from vidjacobi.errors import InvalidArgument


def convert(checkpoint: Path, out: Path, max_shard_size: str = "5GB") -> Path:
    """Write folder ``out`` from ``checkpoint`` (a folder or weight file), every tensor bit for bit.

    ``out`` must be missing or an empty folder, and it appears only when it is complete. Raises InvalidArgument if
    it is anything else, and what ``load_network`` raises for a checkpoint that cannot be used.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidArgument(f"{out} exists and is not an empty folder: choose another or remove it")
    network = load_network(checkpoint)
    # Imported here, because it imports transformers, which takes seconds.
    from cosmos_adapter.transformer.hf import CosmosARForCausalLM

    out.parent.mkdir(parents=True, exist_ok=True)
    # Written beside ``out`` and renamed, which is one step only within the same disk.
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        CosmosARForCausalLM.from_network(network).save_pretrained(partial, max_shard_size=max_shard_size)
        # mkdtemp makes folders that only their owner can read.
        partial.chmod(0o777 & ~_umask())
        if out.exists():
            out.rmdir()
        os.replace(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return out


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
