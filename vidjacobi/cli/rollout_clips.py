"""The work of ``vidjacobi rollout``: check the whole request, load the model, roll out clip after clip."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from vidjacobi.config.decoder import DecoderConfig
from vidjacobi.config.rollout import RolloutConfig
from vidjacobi.decoding.api import strategies_of
from vidjacobi.decoding.recipe import Progress
from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.estimate.memory import MemoryQuestion, check_memory, this_device
from vidjacobi.estimate.scenario import RolloutShape
from vidjacobi.loading import Pair, family_of, load, outline_to_load
from vidjacobi.models.protocol import VideoModel
from vidjacobi.models.tokenizer import VideoTokenizer, check_lengths
from vidjacobi.output.run_folder import output_names, removed_if_empty
from vidjacobi.registry import lookup
from vidjacobi.rollouts.api import Rollout, rollout, stream_rollout
from vidjacobi.rollouts.clip_job import ClipJob, Predictor, prepare, read_context
from vidjacobi.rollouts.files import Extras, claim_folders, write_clip
from vidjacobi.rollouts.stream import RolloutStream, streaming
from vidjacobi.runtime import Runtime, choose
from vidjacobi.video.records import DEFAULT, READERS, Kind
from vidjacobi.video.timed_reader import open_clip

if TYPE_CHECKING:
    from vidjacobi.families.opening import FamilyName


@dataclass(frozen=True)
class Output:
    """Where the results go, and which.

    Attributes:
        folder: gets one folder a clip.
        overwrite: replace earlier rollouts of the same name.
        stream: write each video while its frames are decided.
        extras: files that are not always written.
        quiet: no lines on the console; notes are in ``rollout.json`` too.
    """

    folder: Path
    overwrite: bool
    stream: bool
    extras: Extras
    quiet: bool = False


def roll_out(
    config: RolloutConfig, decoder: DecoderConfig, sources: Sequence[Path], output: Output
) -> list[dict[str, Any]]:
    """Roll out ``sources`` (none: the bundled sample); a summary of each future.

    Raises VidjacobiError, before anything is loaded where the request alone shows that it cannot be done.
    """
    # What is cheap to check comes first: the request alone, then the clips, memory, and the output folders.
    runtime = checked(config, decoder, output)
    with ExitStack() as stack:
        if not sources:
            # the sample may lie in a zip file: as_file unpacks it until the stack is closed
            sample = resources.files("vidjacobi") / "assets" / "sample.mp4"
            sources = [stack.enter_context(resources.as_file(sample))]
        family = family_of(config.model)
        lengths = [context_length(config, source, family) for source in sources]
        if config.memory_check and family is None:  # nothing predicts the memory of other authors' models
            check_room(config, decoder, runtime, max(lengths), output.stream)
        stack.enter_context(
            removed_if_empty(output.folder)
        )  # the model may still not be there, or the clip damaged
        folders = claim_folders(output.folder, output_names(sources), output.overwrite)
        model = open_predictor(config, runtime, family)
        for length in lengths:
            check_lengths(length, config.frames, config.samples, model.tokenizer)
            if config.context_from == "first":  # else only the clip says where it starts
                model.check(config, config.start, length)
        if output.stream:
            streaming(model.tokenizer)  # refuses a tokenizer that can only make frames of whole clips
        outputs = []
        for source, length, folder in zip(sources, lengths, folders, strict=True):
            job = prepare(source, length, config, decoder, model.tokenizer, runtime)
            job = replace(job, notes=(*job.notes, *model.notes(config, job.clip.start, length)))
            model.check(config, job.clip.start, length)
            outputs += roll_out_clip(job, model, folder, output)
    return outputs


def checked(config: RolloutConfig, decoder: DecoderConfig, output: Output) -> Runtime:
    """Device and dtype of a request that is possible as far as it can be told without reading a file."""
    check_numbers(config)
    if config.actions is not None and family_of(config.model) is None:
        raise InvalidArgument(f"{config.model} takes no actions: MineWorld and iVideoGPT do (mineworld:PATH)")
    strategies_of(decoder)  # builds its strategies, which refuse options that do not exist
    runtime = choose(config.device, config.dtype)
    config.sampling.resolve(decoder.temperature).check_range(runtime.dtype)
    if config.compile != "off":
        from vidjacobi.decoding.compiled import check_mode

        check_mode(config.compile, runtime.device, config.offload)
    if output.stream and config.run_torchscript:
        raise InvalidArgument("--stream: a TorchScript tokenizer makes frames of whole clips only")
    if config.offload:
        from vidjacobi.models.offload import check_device

        check_device(runtime.device)
    return runtime


def check_numbers(config: RolloutConfig) -> None:
    """Refuse numbers that no model could use. Raises InvalidArgument."""
    lookup("reader", config.reader, READERS)
    _ = config.sampling  # its numbers are checked when it is made
    if config.window is not None and config.window < 1:
        raise InvalidArgument(f"window must be at least 1, not {config.window}")
    if config.frames < 1:
        raise InvalidArgument(f"frames must be at least 1, not {config.frames}")
    if config.start < 0:
        raise InvalidArgument(f"start counts frames from 0, it cannot be {config.start}")
    if config.context is not None and config.context < 1:
        raise InvalidArgument(f"context must be at least 1 frame, not {config.context}")
    if config.context_from == "last" and config.start:
        raise InvalidArgument("start counts from the first frame: it cannot go with a context from the end")


def check_room(
    config: RolloutConfig, decoder: DecoderConfig, runtime: Runtime, context: int, stream: bool
) -> None:
    """Refuse what is predicted not to fit in memory. Raises InvalidArgument."""
    outline = partial(outline_to_load, config.model, config.tokenizer)
    shape = RolloutShape(decoder, config.samples, 1, context, config.frames)
    question = MemoryQuestion(outline, shape, config.offload, stream=stream)
    check_memory(question, this_device(runtime))


def load_pair(config: RolloutConfig) -> Pair:
    """The model and its tokenizer."""
    return load(
        config.model,
        config.device,
        config.dtype,
        config.tokenizer,
        config.run_torchscript,
        config.offload,
        config.compile,
    )


@dataclass(frozen=True)
class PlainPredictor:
    """A model that is given nothing but frames."""

    model: VideoModel
    tokenizer: VideoTokenizer

    def check(self, config: RolloutConfig, start: int, context: int) -> None:
        """The tokenizer's lengths are all that counts."""

    def notes(self, config: RolloutConfig, start: int, context: int) -> list[str]:
        """Nothing."""
        return []

    def roll(self, job: ClipJob, asked: dict[str, Any]) -> Rollout:
        """See Predictor."""
        return rollout(job.clip.frames, self.model, self.tokenizer, **asked)

    def stream(self, job: ClipJob, asked: dict[str, Any]) -> RolloutStream:
        """See Predictor."""
        return stream_rollout(job.clip.frames, self.model, self.tokenizer, **asked)


def open_predictor(config: RolloutConfig, runtime: Runtime, family: "FamilyName | None") -> Predictor:
    """The model, loaded. Raises InvalidArgument, BadInput, BadCheckpoint."""
    if family is None:
        return PlainPredictor(*load_pair(config))
    from vidjacobi.rollouts.worlds import open_world

    return open_world(family, config, runtime)


def context_length(config: RolloutConfig, source: Path, family: "FamilyName | None" = None) -> int:
    """How many context frames of one clip are used. Raises BadInput for a clip that is too short."""
    info = open_clip(source)
    length = config.context
    if length is None and family is not None:
        from vidjacobi.rollouts.worlds import usual_context

        length = usual_context(family, config)
    if length is None:
        length = 1 if info.kind is Kind.IMAGE else 9
    if info.frames < config.start + length or config.reader != DEFAULT:
        read_context(source, length, config)  # refuses, in the words for this kind of clip and this reader
    return length


def roll_out_clip(job: ClipJob, model: Predictor, folder: Path, output: Output) -> list[dict[str, Any]]:
    """All futures of one clip; a summary of each."""
    config, clip = job.config, job.clip
    with ProgressBar(folder.name, config.samples, output.quiet) as bar:
        for note in job.notes:
            bar.say(f"{folder}: note: {note}")
        asked: dict[str, Any] = {
            "new_frames": config.frames,
            "samples": config.samples,
            "start": clip.start,
            "decoder": job.decoder,
            "sampling": config.sampling,
            "observe": bar,
        }
        if output.stream:
            from vidjacobi.rollouts.live_files import write_live

            live = model.stream(job, asked)
            return write_live(folder, job, live, output.extras, output.overwrite, bar.say, bar.say_done)
        rolled = model.roll(job, asked)
        return write_clip(folder, job, rolled, output.extras, output.overwrite, bar.say_done)


class ProgressBar:
    """Tokens decided, passes, tokens per pass, time left. Feed it to ``observe=``.

    No bar where standard error is not a terminal; with ``quiet`` no lines either.
    """

    def __init__(self, label: str, clips: int = 1, quiet: bool = False) -> None:
        self._clips, self._quiet = clips, quiet
        # None: tqdm looks whether it is a terminal
        disable = True if quiet else None
        self._bar = tqdm(desc=label, unit="tok", disable=disable, dynamic_ncols=True, leave=False)

    def __call__(self, progress: Progress) -> None:
        per_pass = progress.decided / progress.passes / self._clips  # of one clip, as papers count it
        self._bar.total = progress.total
        self._bar.set_postfix_str(
            f"{number_of(progress.passes, 'pass')}, {per_pass:.1f} tok/pass", refresh=False
        )
        self._bar.update(progress.decided - self._bar.n)

    def say(self, line: str) -> None:
        """Print a line above the bar, on standard error."""
        if not self._quiet:
            self._bar.write(line, file=sys.stderr)

    def say_done(self, line: str) -> None:
        """Print a line above the bar, on standard output."""
        if not self._quiet:
            self._bar.write(line, file=sys.stdout)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
