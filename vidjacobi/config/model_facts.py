"""What is known of each model that can be named: ``configs/model/*.yaml``. Nothing is computed, no torch needed.

A family's file also has the prompt form and the numbers that its authors sample and guide with; they stand nowhere
else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, get_type_hints

from vidjacobi.config.settings import typed
from vidjacobi.config.yaml_files import config_names, read_config
from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import lookup

if TYPE_CHECKING:
    from vidjacobi.sampling.probs import SamplingParams

KINDS = {"bundled": "comes with this package", "family": "weights of other authors, which you name"}


@dataclass(frozen=True)
class Preset:
    """How the authors of a model sample one kind of what it makes.

    Attributes:
        guidance: scale of classifier-free guidance; None: the model has no branch to guide against, or is not guided.
        temperature, top_p, top_k: as in ``SamplingParams``.
        cells: rows and columns of a picture where the caller names none; None where the model has one size only.
    """

    guidance: float | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    cells: list[int] | None = None

    @property
    def sampling(self) -> "SamplingParams":
        """Temperature, top-p and top-k, with seed 0."""
        from vidjacobi.sampling.probs import (
            SamplingParams,
        )  # loads torch, which a list of models does without

        return SamplingParams(self.temperature, self.top_p, self.top_k)


@dataclass(frozen=True)
class ModelFacts:
    """One model or family of models, in words for people.

    Attributes:
        name: of the file.
        kind: a key of KINDS.
        title: of its authors.
        makes: what is decoded, of what.
        sizes: parameters, pixels, cells.
        published: where the weights are.
        licence: of code and weights, as their authors say.
        needs: files that the user must have.
        pixels: what turns tokens into pictures.
        reference: what greedy tokens were compared with, on small random networks.
        presets: by what is made.
        prompt: the form of a prompt, ``{prompt}`` in it the user's text; None where there are no texts.
        negative: the prompt that guidance leads away from; None where another rule says it.
        command: of a family, the one that takes it as NAME:PATH; None: only Python does.
    """

    name: str
    kind: str
    title: str
    makes: str
    sizes: str
    published: str
    licence: str
    needs: str
    pixels: str
    reference: str
    presets: dict[str, Preset] = field(default_factory=dict)
    prompt: str | None = None
    negative: str | None = None
    command: str | None = None

    def preset(self, what: str) -> Preset:
        """The preset of ``what``. Raises InvalidArgument for what the model does not make."""
        return lookup(f"preset of {self.name}", what, self.presets)


def model_names(kind: str | None = None) -> list[str]:
    """Names of all models, or of those of one kind: bundled ones first."""
    found = [load_facts(name) for name in config_names("model")]
    return [
        facts.name
        for facts in sorted(found, key=lambda one: (list(KINDS).index(one.kind), one.name))
        if kind in (None, facts.kind)
    ]


def load_facts(name: str) -> ModelFacts:
    """What is known of the model ``name``. Raises InvalidArgument for an unknown name or a file with other keys."""
    values = read_config("model", name)
    hints = get_type_hints(ModelFacts)
    if wrong := sorted(set(values) - (set(hints) - {"name"})):
        raise InvalidArgument(f"model {name!r} has no setting {', '.join(wrong)}")
    found = {
        key: typed(hints[key], f"model {name!r}: {key}", value)
        for key, value in values.items()
        if key != "presets"
    }
    lookup("kind of model", found.get("kind", ""), KINDS)
    presets = {what: _preset(name, what, own) for what, own in values.get("presets", {}).items()}
    return ModelFacts(name=name, presets=presets, **found)


def _preset(name: str, what: str, values: Mapping[str, Any]) -> Preset:
    hints = get_type_hints(Preset)
    if wrong := sorted(set(values) - {part.name for part in fields(Preset)}):
        raise InvalidArgument(f"model {name!r}: preset {what!r} has no setting {', '.join(wrong)}")
    where = f"model {name!r}: {what}:"
    return Preset(**{key: typed(hints[key], f"{where} {key}", value) for key, value in values.items()})


def preset(name: str, what: str) -> Preset:
    """How the authors of the model ``name`` sample ``what``. Raises InvalidArgument."""
    return load_facts(name).preset(what)


def guidance_of(name: str, what: str, scale: float | None) -> float:
    """``scale``, or where it is None that of the authors of the model ``name``; 1 where they do not guide."""
    if scale is not None:
        return scale
    own = preset(name, what).guidance
    return 1.0 if own is None else own
