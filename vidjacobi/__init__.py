"""Vidjacobi: fast rollouts of autoregressive video world models that keep the model's distribution."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidjacobi.decoding.api import decode as decode
    from vidjacobi.decoding.clip_queue import Failed as Failed
    from vidjacobi.decoding.clip_queue import Finished as Finished
    from vidjacobi.decoding.clip_queue import Request as Request
    from vidjacobi.decoding.clip_queue import decode_each as decode_each
    from vidjacobi.decoding.compiled import compiled as compiled
    from vidjacobi.decoding.trace import Decoded as Decoded
    from vidjacobi.families.opening import load_family as load_family
    from vidjacobi.kinds import Grid as Grid
    from vidjacobi.loading import load as load
    from vidjacobi.loading import load_model as load_model
    from vidjacobi.models.guidance import Guided as Guided
    from vidjacobi.models.protocol import VideoModel as VideoModel
    from vidjacobi.models.tokenizer import VideoTokenizer as VideoTokenizer
    from vidjacobi.rollouts.api import Rollout as Rollout
    from vidjacobi.rollouts.api import rollout as rollout
    from vidjacobi.rollouts.stream import FrameGroup as FrameGroup
    from vidjacobi.rollouts.stream import RolloutStream as RolloutStream
    from vidjacobi.sampling.probs import SamplingParams as SamplingParams

# The public names and where they live (no module has the name of a function: the import of a submodule
# would hide the function). Torch is imported with the first of them, so that --help is quick.
_HOMES = {
    "compiled": "vidjacobi.decoding.compiled",
    "decode": "vidjacobi.decoding.api",
    "decode_each": "vidjacobi.decoding.clip_queue",
    "load": "vidjacobi.loading",
    "load_family": "vidjacobi.families.opening",
    "load_model": "vidjacobi.loading",
    "rollout": "vidjacobi.rollouts.api",
    "Decoded": "vidjacobi.decoding.trace",
    "Failed": "vidjacobi.decoding.clip_queue",
    "Finished": "vidjacobi.decoding.clip_queue",
    "FrameGroup": "vidjacobi.rollouts.stream",
    "Request": "vidjacobi.decoding.clip_queue",
    "Rollout": "vidjacobi.rollouts.api",
    "Grid": "vidjacobi.kinds",
    "Guided": "vidjacobi.models.guidance",
    "RolloutStream": "vidjacobi.rollouts.stream",
    "SamplingParams": "vidjacobi.sampling.probs",
    "VideoModel": "vidjacobi.models.protocol",
    "VideoTokenizer": "vidjacobi.models.tokenizer",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'vidjacobi' has no attribute {name!r}")
