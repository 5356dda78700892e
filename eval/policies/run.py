"""``vidjacobi eval policies``: all policies in all worlds, ranks, tables and a page. Resumable."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vidjacobi.config.settings import differences
from vidjacobi.errors import BadInput, InvalidArgument, number_of
from vidjacobi.eval.policies.contract import Policy, policies_of
from vidjacobi.eval.policies.playing import Episodes, load, play
from vidjacobi.eval.policies.pushers import JUDGED
from vidjacobi.eval.policies.report import write_report
from vidjacobi.eval.policies.results import results_of, write_results
from vidjacobi.eval.policies.worlds import FIRST, Make, Starts, worlds_of
from vidjacobi.families.opening import family_name
from vidjacobi.families.pusht import SAMPLING, PushT
from vidjacobi.families.pusht import load as load_pusht
from vidjacobi.kinds import whole
from vidjacobi.output.atomic import write_json
from vidjacobi.output.locks import NO_LOCKS
from vidjacobi.output.run_folder import RunFolder, safe_name
from vidjacobi.provenance import changes, files_at, made_with
from vidjacobi.runtime import choose
from vidjacobi.sampling.probs import SamplingParams

SETTINGS, EPISODES, PAGE = "settings.json", "episodes", "report.html"
Tell = Callable[[str], None]
Found = dict[str, dict[str, Episodes]]  # world -> policy -> its episodes


@dataclass(frozen=True)
class PolicyRun:
    """An evaluation of policies.

    Attributes:
        model: ``pusht:FOLDER``.
        policies: names, scripted or ``package.module:function``, two or more.
        starts, first: how many starts, and the seed of the first one.
        frames: that each policy acts for.
        videos: starts that the page plays.
        seed: of the model's noise and of what scripted policies draw.
        decoder, temperature, top_p, device, dtype: of the model.
        other_versions: resume although packages that results depend on have changed.
    """

    model: str
    policies: tuple[str, ...] = tuple(JUDGED)
    starts: int = 30
    first: int = FIRST
    frames: int = 32
    videos: int = 1
    seed: int = 0
    decoder: str = "pathwise"
    temperature: float | None = None
    top_p: float = SAMPLING.top_p
    device: str = "auto"
    dtype: str = "float32"
    other_versions: bool = False

    def __post_init__(self) -> None:
        for name, least in (("starts", 2), ("frames", 1), ("videos", 0), ("first", 0)):
            whole(name, getattr(self, name), least)
        if len(self.policies) < 2:
            raise InvalidArgument("a ranking needs two policies or more")

    @property
    def sampling(self) -> SamplingParams:
        """Of the model. Raises InvalidArgument."""
        temperature = SAMPLING.temperature if self.temperature is None else self.temperature
        return replace(SAMPLING, temperature=temperature, top_p=self.top_p, seed=self.seed)

    def settings(self) -> dict[str, Any]:
        """What episodes depend on beside the weights and the policy."""
        kept = ("starts", "first", "frames", "videos", "seed", "decoder", "temperature", "top_p")
        return {name: getattr(self, name) for name in kept}


def judge(config: PolicyRun, out: Path, tell: Tell) -> dict[str, Any]:
    """Everything; returns the results. What was played in ``out`` before is kept, more policies may be asked for.

    Raises InvalidArgument, BadInput (no simulator, a policy that fails), BadCheckpoint, and BadOutput where ``out``
    holds another evaluation.
    """
    policies = policies_of(list(config.policies))
    named = family_name(config.model)
    if named is None or named.family != "pusht":
        raise InvalidArgument(
            f"--model {config.model}: policies are judged in a world of Push-T: nano-pusht, or pusht:FOLDER "
            "(docs/nano_pusht.md)"
        )
    family = load_pusht(named.weights, choose(config.device, config.dtype))
    starts = Starts(
        config.starts, config.first, family.network.spec.action_points, family.tokenizer.frame_size[0]
    )
    starts.pictures  # noqa: B018  says what is missing before a folder is made
    folder = RunFolder(out, "evaluation of policies", SETTINGS, remedy="give another --out")
    with folder.locked() as held:
        if not held:
            tell(f"{out}: {NO_LOCKS}")
        made = open_out(config, folder, named.weights)
        found = play_all(config, policies, family, starts, out, tell)
        results = {
            **results_of(found),
            "settings": {**asdict(config), "stride": starts.stride},
            "made_with": made,
        }
        write_results(out, results)
        write_report(out / PAGE, results, found)
    return results


def open_out(config: PolicyRun, folder: RunFolder, weights: Path) -> dict[str, Any]:
    """Make the folder ready, or resume in it; what the results depend on beside the settings. Raises BadOutput."""
    dtype = choose(config.device, config.dtype).dtype
    folder.create()
    made: dict[str, Any] = {}

    def compare(before: dict[str, Any]) -> list[str]:
        made.update(made_with(files_at(weights), dtype, before.get("made_with")))
        return [
            *differences(config.settings(), before["settings"]),
            *changes(made, before.get("made_with"), config.other_versions),
        ]

    folder.resume(compare)
    made = made or made_with(files_at(weights), dtype)
    write_json(
        folder.path / SETTINGS, {"settings": config.settings(), "model": config.model, "made_with": made}
    )
    return made


def play_all(
    config: PolicyRun, policies: list[Policy], family: PushT, starts: Starts, out: Path, tell: Tell
) -> Found:
    """The episodes of every policy in every world; those in ``out`` are not played again."""
    found: Found = {}
    for world, make in worlds_of(family, starts, config.sampling, config.decoder).items():
        found[world] = {}
        for policy in policies:
            path = out / EPISODES / safe_name(world) / f"{safe_name(policy.name)}.npz"
            episodes = kept(path, policy, tell)
            if episodes is None:
                episodes = played(config, policy, make, starts)
                episodes.save(path, policy.source)
                tell(
                    f"{world}, {policy.name}: largest coverage {episodes.best.mean():.3f} on average of "
                    f"{number_of(starts.count, 'start')}"
                )
            found[world][policy.name] = episodes
    return found


def played(config: PolicyRun, policy: Policy, make: Make, starts: Starts) -> Episodes:
    """New episodes."""
    return play(policy, make(), starts.pictures, config.frames, config.seed, config.videos)


def kept(path: Path, policy: Policy, tell: Tell) -> Episodes | None:
    """Episodes that were played before; None where there are none, or where the policy's file has changed since."""
    if not path.is_file():
        return None
    try:
        episodes, source = load(path)
    except BadInput as error:
        tell(f"{error}; they are played again")
        return None
    if source != policy.source:
        tell(f"{policy.name} has changed: it is played again")
        return None
    return episodes
