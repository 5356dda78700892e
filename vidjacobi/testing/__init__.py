"""For tests of what you bring: ``check_model`` and ``check_tokenizer``, and a tiny model for tests of decoders."""

from vidjacobi.testing.model_checks import check_model
from vidjacobi.testing.tiny_model import SMALL, TinyVideoModel, joint_probs, sequence_index
from vidjacobi.testing.tokenizer_checks import check_tokenizer

__all__ = ["SMALL", "TinyVideoModel", "check_model", "check_tokenizer", "joint_probs", "sequence_index"]
