"""``leanrec versions``: the versions of a served model, which of them is served, and which one is on trial."""

import collections
import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leanrec.cli import output
from leanrec.cli.options import Json

if TYPE_CHECKING:
    from leanrec.online import Version, VersionStore, VersionTrial

__all__ = ["versions"]

Store = Annotated[Path, typer.Argument(help="Folder of the versions; `leanrec versions add` creates it.")]
Fence = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Number of the last change that you have seen: if there was another one meanwhile, nothing changes.",
    ),
]

versions = typer.Typer(help="Keep versions of a model, and choose the one that is served.", no_args_is_help=True)


@versions.command("list")
def list_versions(store: Store, as_json: Json = False) -> None:
    """List the versions, oldest fit first, the last trial, and the number of the last change."""
    from leanrec.online import VersionStore

    opened = VersionStore(store)
    found, promotions, trials = opened.versions(), opened.promotions(), opened.trials()
    if as_json:
        output.print_json(
            {
                "versions": [{**vars(each), "path": str(each.path)} for each in found],
                "promotions": [vars(each) for each in promotions],
                "trials": [vars(each) for each in trials],
                "trial_counts": opened.get_record(trials[-1]).count_lists() if trials else None,
                "fence": opened.fence,
            }
        )
        return
    output.print_table(
        f"Versions of {store}",
        ("version", "model", "fitted", "events", "MB", ""),
        [
            (
                each.id,
                each.model or "",
                each.created or "",
                "" if each.events is None else f"{each.events:,}",
                f"{each.n_bytes / 1e6:.1f}",
                _describe_state(each, trials),
            )
            for each in found
        ],
        left=3,
    )
    if promotions:
        last = promotions[-1]
        output.print_note(f"Last promotion: number {last.fence}, {last.version} ({last.reason}) at {last.time}.")
    if trials:
        output.print_note(_describe_trial(trials[-1]))
        _print_counts(opened, trials[-1])
    if trials and opened.fence != last.fence:
        output.print_note(f"Last change: number {opened.fence}.")


def _describe_state(version: "Version", trials: "tuple[VersionTrial, ...]") -> str:
    """What a version is used for."""
    if version.is_current:
        return "current"
    if trials and trials[-1].ended is None and trials[-1].version == version.id:
        return "on trial"
    if version.refit is not None:
        return "proposed: {metric} {difference:+.4f} ({low:+.4f} to {high:+.4f}) against {against}".format(
            **version.refit
        )
    return ""


def _describe_trial(trial: "VersionTrial") -> str:
    what = "shadow" if trial.is_shadow else "canary"
    where = "of the lists are made by it too" if trial.is_shadow else "of the users get its lists"
    if trial.ended is None:
        return f"On trial: {trial.version} ({what}), {trial.share:.2%} {where}, since {trial.started}."
    why = f": {trial.reason}" if trial.reason else ""
    who = f" by {trial.ended_by}" if trial.ended_by else ""
    return f"Last trial: {trial.version} ({what}), {trial.outcome}{who} at {trial.ended}{why}."


def _print_counts(store: "VersionStore", trial: "VersionTrial") -> None:
    """How many lists and users took part in a canary so far."""
    counts = collections.Counter(store.get_record(trial).count_lists())
    if counts:
        output.print_note(
            f"Lists so far: {counts['lists candidate']:,} of the version on trial for {counts['users candidate']:,} users, "
            f"{counts['lists control']:,} of the current one for {counts['users control']:,} users beside them. No part have "
            f"{counts['lists others']:,} lists of other users and {counts['lists without user']:,} of requests without a user."
        )


@versions.command("add")
def add_version(
    store: Store,
    model: Annotated[Path, typer.Argument(help="Folder of a model fitted by `leanrec fit --out`.")],
    promote: Annotated[bool, typer.Option("--promote", help="Make it the current version.")] = False,
    as_json: Json = False,
) -> None:
    """Add a fitted model as a version. Its files are verified, and linked where the file system supports it."""
    from leanrec.online import VersionStore

    opened = VersionStore.create(store)
    version = opened.add(model)
    if promote:
        opened.promote(version.id)
        version = opened.find(version.id)
    _print_version("Added", version.id, store, as_json=as_json)
    if not version.is_current and not as_json:
        output.print_note(f"Serve it: {output.format_command('versions', 'promote', store, version.id)}")


@versions.command("promote")
def promote_version(
    store: Store,
    version: Annotated[str, typer.Argument(help="Id of a version, or the start of it.")],
    fence: Fence = None,
    as_json: Json = False,
) -> None:
    """Make a version the current one. A server of the store serves it within a second. A trial that runs ends."""
    from leanrec.online import VersionStore

    promotion = VersionStore(store).promote(version, fence=fence)
    _print_version("Promoted", promotion.version, store, as_json=as_json)


@versions.command("try")
def try_version(
    store: Store,
    version: Annotated[str, typer.Argument(help="Id of a version, or the start of it.")],
    share: Annotated[
        float,
        typer.Option(
            help="Share of the users who get its lists, at most 0.5; with --shadow the share of the lists, at most 1."
        ),
    ] = 0.05,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Make its lists only to compare them. They are not served.")
    ] = False,
    fence: Fence = None,
    as_json: Json = False,
) -> None:
    """Try a version beside the current one. Servers of the store do so within a second, and abort it if it is worse.

    Again with another share: the trial goes on with it, and no user changes sides.
    """
    from leanrec.online import VersionStore

    opened = VersionStore(store)
    trial = opened.start_trial(version, share, is_shadow=shadow, fence=fence)
    if as_json:
        output.print_json(vars(trial))
        return
    output.print_line(f"{_describe_trial(trial)} Changes so far: {trial.fence}.")
    _print_counts(opened, trial)
    output.print_note(f"End it: {output.format_command('versions', 'stop', store)}")


@versions.command("stop")
def stop_trial(
    store: Store,
    reason: Annotated[str | None, typer.Option(help="Why, for those who read it later.")] = None,
    fence: Fence = None,
    as_json: Json = False,
) -> None:
    """End the trial that runs: all users get lists of the current version again."""
    from leanrec.online import VersionStore

    trial = VersionStore(store).stop_trial(reason, getpass.getuser(), fence=fence)
    assert trial is not None  # noqa: S101 - without a trial it raises
    if as_json:
        output.print_json(vars(trial))
    else:
        output.print_line(f"{_describe_trial(trial)} Changes so far: {trial.fence}.")


@versions.command("rollback")
def roll_back(store: Store, fence: Fence = None, as_json: Json = False) -> None:
    """Make the version that was current before the last promotion current again."""
    from leanrec.online import VersionStore

    promotion = VersionStore(store).rollback(fence=fence)
    _print_version("Rolled back to", promotion.version, store, as_json=as_json)


@versions.command("clean")
def remove_unused(
    store: Store,
    keep: Annotated[int, typer.Option(min=1, help="Number of the last promoted versions to keep.")] = 3,
    as_json: Json = False,
) -> None:
    """Remove versions that were promoted long ago. Those that were never promoted stay."""
    from leanrec.online import VersionStore

    removed = VersionStore(store).remove_unused(keep)
    if as_json:
        output.print_json({"removed": list(removed)})
    else:
        output.print_line(f"Removed {len(removed)} versions: {', '.join(removed)}" if removed else "Nothing to remove.")


def _print_version(what: str, version: str, store: Path, *, as_json: bool) -> None:
    """Print a version after a change, with the number of the last change."""
    from leanrec.online import VersionStore

    fence = VersionStore(store).fence
    if as_json:
        output.print_json({"version": version, "fence": fence})
    else:
        output.print_line(f"{what} {version}. Changes so far: {fence}.")
