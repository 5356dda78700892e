"""Captions as LlamaGen reads them: features of a T5 encoder, from its folder or out of a file.

Source: language/t5.py of FoundationVision/LlamaGen: 120 places, the rest cut off. Its cleaning of web captions is
left out: a caption is made lower case and stripped, as that code does without its cleaning.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vidjacobi.errors import BadCheckpoint, BadInput, InvalidArgument, number_of
from vidjacobi.families.painters.contract import Subject, text_of
from vidjacobi.families.painters.words import Words
from vidjacobi.runtime import Runtime

PLACES = 120
Features = tuple[Float[Tensor, "b n c"], Bool[Tensor, "b n"]]


@runtime_checkable
class CaptionFeatures(Protocol):
    """Where the features of captions come from."""

    @property
    def notes(self) -> Sequence[str]: ...

    def describe(self, subject: Subject) -> dict[str, Any]:
        """What is fed, for a record. Raises InvalidArgument, BadInput."""
        ...

    def of(self, subjects: Sequence[Subject]) -> Features:
        """Features and which places hold some."""
        ...


@dataclass(frozen=True, eq=False)
class FeatureFile:
    """An npz file with ``features`` ``[captions, places, channels]`` and ``mask`` ``[captions, places]``.

    Row i belongs to prompt i of the list. Raises BadInput.
    """

    path: Path
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        _ = self._arrays

    @cached_property
    def _arrays(self) -> Features:
        try:
            with np.load(self.path, allow_pickle=False) as file:
                features, mask = (torch.from_numpy(file[name]) for name in ("features", "mask"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{self.path}: no npz file with features and mask: {error}") from error
        if features.ndim != 3 or mask.shape != features.shape[:2] or not features.is_floating_point():
            raise BadInput(
                f"{self.path}: features [captions, places, channels] and mask [captions, places] are wanted, not "
                f"{list(features.shape)} and {list(mask.shape)}"
            )
        if not bool(features.isfinite().all()):
            raise BadInput(f"{self.path}: features hold NaN or infinite numbers")
        return features, mask.bool()

    def describe(self, subject: Subject) -> dict[str, Any]:
        """See CaptionFeatures."""
        text_of(subject, "this LlamaGen")
        features, mask = self._arrays
        if subject.row >= len(features):
            raise BadInput(
                f"{self.path} has features of {number_of(len(features), 'caption')}, none of prompt {subject.row}"
            )
        return {
            "features": str(self.path),
            "features_row": subject.row,
            "prompt_tokens": int(mask[subject.row].sum()),
        }

    def of(self, subjects: Sequence[Subject]) -> Features:
        """See CaptionFeatures."""
        rows = torch.tensor([subject.row for subject in subjects])
        features, mask = self._arrays
        return features[rows], mask[rows]


@dataclass(frozen=True, eq=False)
class T5Features:
    """The encoder in a folder that ``transformers`` wrote, beside its tokenizer. Raises BadCheckpoint."""

    folder: Path
    runtime: Runtime
    notes: Sequence[str] = ("captions are fed in lower case, without the authors' cleaning of web captions",)

    def __post_init__(self) -> None:
        _ = self._words, self._encoder

    @cached_property
    def _words(self) -> Words:
        return Words(self.folder)

    @cached_property
    def _encoder(self) -> Any:
        from transformers import T5EncoderModel

        try:
            made = T5EncoderModel.from_pretrained(
                self.folder, dtype=self.runtime.dtype, local_files_only=True
            )
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise BadCheckpoint(f"{self.folder} cannot be read as a T5 encoder ({reason})") from error
        return made.to(self.runtime.device).requires_grad_(False).eval()

    def describe(self, subject: Subject) -> dict[str, Any]:
        """See CaptionFeatures."""
        text = self._text(subject)
        count = len(self._words.ids(text))
        if count > PLACES:
            raise InvalidArgument(
                f"the caption {text!r:.60} has {count} tokens: LlamaGen reads {PLACES}, shorten it"
            )
        return {"text": text, "prompt_tokens": count}

    def of(self, subjects: Sequence[Subject]) -> Features:
        """See CaptionFeatures. Caption by caption, so that none depends on its neighbours."""
        found = [self._features(self._text(subject)) for subject in subjects]
        return torch.cat([one for one, _ in found]), torch.cat([mask for _, mask in found])

    def _text(self, subject: Subject) -> str:
        return self._words.check_plain(text_of(subject, "this LlamaGen")).lower().strip()

    def _features(self, text: str) -> Features:
        made = self._words.tokenizer(
            [text], max_length=PLACES, padding="max_length", truncation=True, return_tensors="pt"
        )
        ids, mask = (made[name].to(self.runtime.device) for name in ("input_ids", "attention_mask"))
        with torch.no_grad():
            hidden = self._encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return hidden, mask.bool().cpu()
