"""``leanrec versions``: the versions of a served model, and which of them is served."""

from pathlib import Path
from typing import Annotated

import typer

from leanrec.cli import output
from leanrec.cli.options import Json

__all__ = ["versions"]

Store = Annotated[Path, typer.Argument(help="Folder of the versions; `leanrec versions add` creates it.")]
Fence = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Number of the last promotion that you have seen: if there was another one meanwhile, nothing changes.",
    ),
]

versions = typer.Typer(help="Keep versions of a model, and choose the one that is served.", no_args_is_help=True)


@versions.command("list")
def list_versions(store: Store, as_json: Json = False) -> None:
    """List the versions, oldest fit first, and the number of the last promotion."""
    from leanrec.online import VersionStore

    opened = VersionStore(store)
    found, promotions = opened.versions(), opened.promotions()
    if as_json:
        output.print_json(
            {
                "versions": [{**vars(each), "path": str(each.path)} for each in found],
                "promotions": [vars(each) for each in promotions],
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
                "current" if each.is_current else "",
            )
            for each in found
        ],
        left=3,
    )
    if promotions:
        last = promotions[-1]
        output.print_note(f"Last promotion: number {last.fence}, {last.version} ({last.reason}) at {last.time}.")


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
    """Make a version the current one. A server of the store serves it within a second."""
    from leanrec.online import VersionStore

    promotion = VersionStore(store).promote(version, fence=fence)
    _print_version("Promoted", promotion.version, store, as_json=as_json)


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
    """Print a version after a change, with the number of the last promotion."""
    from leanrec.online import VersionStore

    promotions = VersionStore(store).promotions()
    fence = promotions[-1].fence if promotions else 0
    if as_json:
        output.print_json({"version": version, "fence": fence})
    else:
        output.print_line(f"{what} {version}. Promotions so far: {fence}.")
