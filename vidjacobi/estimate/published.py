"""Published latencies, what the pass model says of them, and the two numbers that are fitted to them."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from omegaconf import OmegaConf

from vidjacobi.config.decoder import load_decoder
from vidjacobi.config.yaml_files import read_config
from vidjacobi.estimate.gpus import Gpu, load_gpu
from vidjacobi.estimate.outlines import outline
from vidjacobi.estimate.pass_model import Machine, PassShape, Speed, pass_seconds, peak, total
from vidjacobi.estimate.request import Request, lengths_of
from vidjacobi.models.outline import Outline

TABLE = "mc_sjd_table2"


@dataclass(frozen=True)
class Row:
    """One line of the table: passes and seconds are per clip."""

    decoder: str
    window: int
    passes: float
    seconds: float


@dataclass(frozen=True)
class Published:
    """The table, the GPU it was made on, and what its code does (see the YAML)."""

    paper: str
    model: str
    gpu: Gpu
    context_frames: int
    new_frames: int
    new_tokens: int
    code: dict[str, int]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Residual:
    """A row beside its prediction."""

    row: Row
    predicted: float

    @property
    def error(self) -> float:
        """Share by which the prediction is too long."""
        return self.predicted / self.row.seconds - 1


@dataclass(frozen=True)
class Fit:
    """The two fitted numbers, and how well they fit.

    Attributes:
        speed: ``efficiency`` and ``launch`` are fitted to all rows at once, ``host`` is not.
        residuals: of every row.
    """

    speed: Speed
    residuals: tuple[Residual, ...]

    @property
    def worst(self) -> float:
        """Largest error, its sign dropped."""
        return max(abs(residual.error) for residual in self.residuals)

    @property
    def mean(self) -> float:
        """Mean error, signs dropped."""
        return sum(abs(residual.error) for residual in self.residuals) / len(self.residuals)


def published(name: str = TABLE) -> Published:
    """A table of ``configs/published``."""
    values: Any = OmegaConf.to_container(OmegaConf.create(read_config("published", name)))
    rows = tuple(
        Row(str(decoder), int(window), float(n), float(s)) for decoder, window, n, s in values["rows"]
    )
    return Published(**{**values, "gpu": load_gpu(values["gpu"]), "rows": rows})


def fit_published(table: Published | None = None) -> Fit:
    """Fit one efficiency and one launch overhead to a table by least squares of the relative errors.

    Predicted seconds are linear in 1/efficiency and in the overhead: ``a / efficiency + b launch``. AR has no
    overhead: its pass is captured in a CUDA graph.
    """
    table = table or published()
    model = outline(table.model, torch.bfloat16)
    terms = [_terms(table, model, row) for row in table.rows]
    seconds = torch.tensor([row.seconds for row in table.rows], dtype=torch.float64)
    matrix = torch.tensor(terms, dtype=torch.float64) / seconds[:, None]
    found = torch.linalg.lstsq(matrix, torch.ones(len(terms), 1, dtype=torch.float64)).solution[:, 0]
    inverse, launch = found.tolist()
    predictions = [busy * inverse + passes * launch for busy, passes in terms]
    residuals = tuple(Residual(*pair) for pair in zip(table.rows, predictions, strict=True))
    return Fit(Speed(1 / inverse, launch), residuals)


def _terms(table: Published, model: Outline, row: Row) -> tuple[float, float]:
    """(seconds at the data sheet's peak, passes with an overhead) of a row, as the authors' code makes them."""
    code, arithmetic, captured = table.code, model.arithmetic, row.decoder == "ar"
    request = Request(load_decoder("ar"), context_frames=table.context_frames, new_frames=table.new_frames)
    context = lengths_of(model, request).context
    busy = row.passes * _pass(table, model, row.window, captured)
    flops = (2 * arithmetic.matrix_parameters + arithmetic.attention_flops * code["slots"]) * context
    busy += flops / peak(table.gpu, "bfloat16")  # the prefill; its attention runs over the whole cache too
    return busy, 0.0 if captured else row.passes


def _pass(table: Published, model: Outline, window: int, captured: bool) -> float:
    code, arithmetic = table.code, model.arithmetic
    entries = window * model.model.vocab_size
    laws = entries * (2 * code["law_trips"] + code["sort_bytes"])
    repeated = replace(arithmetic, kv_bytes=arithmetic.kv_bytes * code["cache_traffic"])
    scores = code["score_trips"] * 2 * code["slots"] * window * arithmetic.score_rows if captured else 0
    machine = Machine(table.gpu, Speed(1.0, 0.0, 0.0), "bfloat16")
    return total(pass_seconds(machine, repeated, PassShape(1, window, code["slots"], laws + scores, 0)))
