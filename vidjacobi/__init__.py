"""Vidjacobi: fast rollouts of autoregressive video world models that keep the model's law."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidjacobi.clip_queue import Failed as Failed
    from vidjacobi.clip_queue import Finished as Finished
    from vidjacobi.clip_queue import Request as Request
    from vidjacobi.clip_queue import decode_each as decode_each
    from vidjacobi.decoders.compiled import compiled as compiled
    from vidjacobi.decoding import decode as decode
    from vidjacobi.loading import load as load
    from vidjacobi.model import VideoModel as VideoModel
    from vidjacobi.rolling import Rollout as Rollout
    from vidjacobi.rolling import rollout as rollout
    from vidjacobi.streaming import FrameGroup as FrameGroup
    from vidjacobi.streaming import RolloutStream as RolloutStream
    from vidjacobi.tokenizer import VideoTokenizer as VideoTokenizer
    from vidjacobi.trace import Decoded as Decoded

# The public names and where they live (no module has the name of a function: the import of a submodule
# would hide the function). Torch is imported with the first of them, so that --help is quick.
_HOMES = {
    "compiled": "vidjacobi.decoders.compiled",
    "decode": "vidjacobi.decoding",
    "decode_each": "vidjacobi.clip_queue",
    "load": "vidjacobi.loading",
    "rollout": "vidjacobi.rolling",
    "Decoded": "vidjacobi.trace",
    "Failed": "vidjacobi.clip_queue",
    "Finished": "vidjacobi.clip_queue",
    "FrameGroup": "vidjacobi.streaming",
    "Request": "vidjacobi.clip_queue",
    "Rollout": "vidjacobi.rolling",
    "RolloutStream": "vidjacobi.streaming",
    "VideoModel": "vidjacobi.model",
    "VideoTokenizer": "vidjacobi.tokenizer",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'vidjacobi' has no attribute {name!r}")
