"""What each command does, once its arguments are known. Parsing is in cli.py."""

import json
import sys
from argparse import Namespace
from contextlib import ExitStack
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from vidjacobi.bench import running as bench
from vidjacobi.bench.bench_folder import TEXT, open_folder, write_results
from vidjacobi.bench.curve import measure_curve, write_curve
from vidjacobi.bench.material import Source, contexts_of
from vidjacobi.bench.settings import load_bench
from vidjacobi.config.decoder import GUARANTEES, DecoderConfig, load_decoder
from vidjacobi.config.rollout import RolloutConfig, load_rollout
from vidjacobi.config.yaml_files import config_names
from vidjacobi.decoding.api import strategies_of
from vidjacobi.decoding.compiled import check_mode
from vidjacobi.errors import InvalidArgument
from vidjacobi.estimate.admission import Ask, check, here
from vidjacobi.estimate.outlines import outline_to_load
from vidjacobi.estimate.simulate import Request
from vidjacobi.loading import load
from vidjacobi.models.offload import check_device
from vidjacobi.models.protocol import flatten
from vidjacobi.models.tokenizer import check_lengths
from vidjacobi.output.names import output_names
from vidjacobi.output.run_folder import appearing, prepare
from vidjacobi.rollouts.api import Rollout, rollout
from vidjacobi.rollouts.files import Extras, Job, describe, versions, write_rollout
from vidjacobi.rollouts.live_files import write_live
from vidjacobi.rollouts.progress_bar import ProgressBar
from vidjacobi.rollouts.stream import streaming
from vidjacobi.runtime import Runtime, choose, describe_device
from vidjacobi.video.clips import Kind, ReadClip, open_clip, read_frames


def run_rollout(args: Namespace, flags: dict[str, Any]) -> dict[str, Any]:
    """``vidjacobi rollout``: predict futures of clips, one folder each; what can be checked is checked first."""
    config, decoder = load_rollout(args.config, flags, [word for word in args.clips if is_setting(word)])
    check_numbers(config)
    strategies_of(decoder)
    runtime = choose(config.device, config.dtype)
    check_mode(config.compile, runtime.device, config.offload)
    if args.stream and config.run_torchscript:
        raise InvalidArgument("--stream: a TorchScript tokenizer makes frames of whole clips only")
    if config.offload:
        check_device(runtime.device)
    with ExitStack() as stack:
        sources = [Path(word) for word in args.clips if not is_setting(word)]
        sources = sources or [
            stack.enter_context(resources.as_file(resources.files("vidjacobi.assets") / "sample.mp4"))
        ]
        lengths = [context_length(config, source) for source in sources]
        if config.memory_check:
            check_room(config, decoder, runtime, max(lengths), args.stream)
        folders = prepare(Path(args.out), output_names(sources), args.overwrite)
        pair = load(
            config.model,
            config.device,
            config.dtype,
            config.tokenizer,
            config.run_torchscript,
            config.offload,
            config.compile,
        )
        for length in lengths:
            check_lengths(length, config.frames, config.samples, pair[1])
        if args.stream:
            streaming(pair[1])
        outputs, extras = [], Extras(args.tokens, args.trace)
        for source, length, folder in zip(sources, lengths, folders, strict=True):
            job = Job(config, decoder, read_context(source, length, config), runtime)
            with ProgressBar(folder.name, config.samples) as bar:
                if args.stream:
                    stream = rollout(job.clip.frames, *pair, **asked(job), observe=bar, stream=True)
                    outputs += write_live(folder, job, stream, extras, bar.say)
                    continue
                rolled = rollout(job.clip.frames, *pair, **asked(job), observe=bar)
            outputs += write_clip(folder, job, rolled, extras)
    return {"outputs": outputs}


def asked(job: Job) -> dict[str, Any]:
    """The arguments of ``vidjacobi.rollout`` for all samples of one clip."""
    config = job.config
    return {
        "new_frames": config.frames,
        "samples": config.samples,
        "start": job.clip.start,
        "decoder": job.decoder,
        "sampling": config.sampling,
    }


def check_numbers(config: RolloutConfig) -> None:
    """Refuse, before anything is read, numbers that no model could use."""
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
    """Refuse, before anything is loaded, what is predicted not to fit in memory."""
    outline = partial(outline_to_load, config.model, config.tokenizer)
    request = Request(decoder, config.samples, 1, context, config.frames)
    check(Ask(outline, request, config.offload, stream=stream), here(runtime))


def write_clip(folder: Path, job: Job, rolled: Rollout, extras: Extras) -> list[dict[str, Any]]:
    """All samples of one clip: in the folder itself, or in sample-K folders of it."""
    summaries = []
    with appearing(folder) as partial:
        for sample in range(len(rolled.predicted)):
            name = "" if len(rolled.predicted) == 1 else f"sample-{sample}"
            (partial / name).mkdir(exist_ok=True)
            record = write_rollout(partial / name, job, rolled, sample, extras)
            print(describe(record, folder / name))
            keys = ("nfe", "new_tokens", "tokens_per_pass", "seconds", "tokens_sha256")
            summaries.append({"folder": str(folder / name), **{key: record[key] for key in keys}})
    return summaries


def is_setting(word: str) -> bool:
    """Whether a word is ``key=value`` and not a clip."""
    key, equals, _ = word.partition("=")
    return bool(equals) and key.replace(".", "_").isidentifier() and not Path(word).exists()


def context_length(config: RolloutConfig, source: Path) -> int:
    """Context frames of one clip, after a look at what it is; refuses a clip that is too short."""
    info = open_clip(source)
    length = config.context if config.context is not None else (1 if info.kind is Kind.IMAGE else 9)
    if info.frames < config.start + length:
        # the reader's own words for every kind of clip
        read_context(source, length, config)
    return length


def read_context(source: Path, length: int, config: RolloutConfig) -> ReadClip:
    """The context frames of one clip."""
    return read_frames(source, config.start, length, from_end=config.context_from == "last")


def run_decoders(args: Namespace, flags: dict[str, Any]) -> dict[str, Any]:
    """``vidjacobi decoders``: what there is, what each proves, where it is from."""
    configs = [load_decoder(name) for name in config_names("decoder")]
    for config in sorted(configs, key=lambda c: (list(GUARANTEES).index(c.guarantee), c.name)):
        print(f"{config.name:12} {config.guarantee:9} {config.summary}\n{'':22} {config.paper}")
    print("\n" + "\n".join(f"{name:9} {meaning}" for name, meaning in GUARANTEES.items()))
    return {"decoders": {config.name: config.guarantee for config in configs}}


def run_bench(args: Namespace, flags: dict[str, Any]) -> dict[str, Any]:
    """``vidjacobi bench``: compare decoders and windows with AR on the same contexts."""
    config = load_bench(args.config, flags)
    job = bench.Bench(config, Path(args.out), Source(tuple(Path(clip) for clip in args.clip)))
    bench.check(job)
    open_folder(config, job.out, job.source.clips, args.overwrite, args.again)
    for left in bench.run(job, tell):
        lines = write_results(config, job.out, job.count(), finished=not left)
    print((job.out / TEXT).read_text(encoding="utf-8"))
    return {"out": args.out, "summary": lines}


def run_curve(args: Namespace, flags: dict[str, Any]) -> dict[str, Any]:
    """``vidjacobi curve``: pass times by window size, for the adaptive decoder."""
    out = Path(args.out)
    if out.suffix not in (".yaml", ".yml"):
        raise InvalidArgument(f"a curve is a YAML file: {out} should end in .yaml")
    strategies_of(load_decoder(args.decoder))
    runtime = choose(args.device, args.dtype)
    pair = load(args.model, args.device, args.dtype, args.tokenizer)
    grids = contexts_of(args.model, pair, clips=[Path(clip) for clip in args.clips])[: max(1, args.count)]
    latents = -(-args.frames // pair[1].stride_t)
    contexts, new_tokens = flatten(pair[0], grids), latents * grids[0, 0].numel()
    curve = measure_curve(pair[0], contexts, new_tokens, args.decoder, args.windows)
    about = {"model": args.model, "decoder": args.decoder, "dtype": str(runtime.dtype).removeprefix("torch.")}
    about |= {"device": describe_device(runtime.device), "torch": versions()["torch"]}
    write_curve(out, curve, about)
    print(out.read_text(encoding="utf-8"), end="")
    return {"out": str(out), **curve}


def tell(line: str) -> None:
    """Progress, for people."""
    print(line, file=sys.stderr, flush=True)


def run_convert(args: Namespace, flags: dict[str, Any]) -> dict[str, Any]:
    """``vidjacobi convert``: an official checkpoint to a folder that ``from_pretrained`` reads."""
    from cosmos_adapter.transformer.convert import convert

    out = convert(Path(args.checkpoint), Path(args.out))
    print(f"{out}: {', '.join(sorted(path.name for path in out.iterdir()))}")
    return {"folder": str(out)}


def last_line(result: dict[str, Any]) -> str:
    """The machine's line: the last one on standard output."""
    return json.dumps(result, ensure_ascii=False)
