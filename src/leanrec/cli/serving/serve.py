"""``leanrec serve``: serve a fitted model over HTTP."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from leanrec.cli import output
from leanrec.cli.serving.config_file import format_config, read_config
from leanrec.errors import SettingError

__all__ = ["report_ready", "serve"]


def _use_config(context: typer.Context, path: Path | None) -> Path | None:
    """Take defaults from a file; flags on the command line win over them."""
    if path is not None:
        context.default_map = {**(context.default_map or {}), **read_config(context, path, serve)}
    return path


def serve(
    context: typer.Context,
    model: Annotated[
        Path | None, typer.Argument(help="Folder of a model fitted by `leanrec fit --out`, or of its versions.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 = a free one.")] = 8000,
    event_log: Annotated[
        str | None,
        typer.Option(
            help="Event log: a file (SQLite), or postgresql://USER@HOST/DATABASE, which several servers can share. Default: "
            "beside the model, with the ending .events.db."
        ),
    ] = None,
    rebind_log: Annotated[
        bool,
        typer.Option(
            "--rebind-log", help="Accept a log of another data set whose ids mean the same users and the same items."
        ),
    ] = False,
    event_type: Annotated[
        list[str] | None,
        typer.Option(
            "--event-type",
            help="An event type to accept besides those of the data; repeatable. Default: view, click, like, cart, "
            "purchase, rating, skip.",
        ),
    ] = None,
    retention_lists: Annotated[
        int, typer.Option(min=0, help="Served lists to keep in the log; the oldest are deleted first.")
    ] = 1_000_000,
    retention_days: Annotated[float, typer.Option(help="Days after which a served list is deleted from the log.")] = 90,
    lists_free_space: Annotated[
        str, typer.Option(help="Free space of the disk below which served lists are not written to the log.")
    ] = "256MiB",
    events_free_space: Annotated[
        str, typer.Option(help="Free space of the disk below which events are refused too, with status 503.")
    ] = "64MiB",
    max_wal: Annotated[
        str, typer.Option(help="Largest write-ahead log under a program that reads the log for long; then as above.")
    ] = "256MiB",
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host",
            help="A name in the Host header to answer to besides localhost and the address of the server; repeatable. "
            "*.example.com for all below a name, * for any.",
        ),
    ] = None,
    max_connections: Annotated[
        int, typer.Option(min=1, help="Open connections; any other is refused with status 503.")
    ] = 1_000,
    request_timeout: Annotated[
        float, typer.Option(help="Seconds in which a request must arrive, and a client must take more of an answer.")
    ] = 20,
    latency_target_ms: Annotated[
        float,
        typer.Option(
            help="Milliseconds in which 99% of the lists are to be answered; under load they get simpler for it."
        ),
    ] = 250,
    max_in_flight: Annotated[
        int, typer.Option(help="Requests for lists that may wait or be answered at a time; others get status 503.")
    ] = 256,
    list_rules: Annotated[
        Path | None,
        typer.Option(help="TOML file with pinned items and limits on items that are alike (see the guide to serving)."),
    ] = None,
    explore: Annotated[
        float,
        typer.Option(
            help="Probability with which each place of a list shows another of the best items, such as 0.05; the log has the "
            "propensities that leanrec experiments --off-policy needs."
        ),
    ] = 0.0,
    keys: Annotated[
        Path | None, typer.Option(help="File of API keys (leanrec keys add makes it): requests need one of them.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen on any address without keys: something else keeps strangers out.")
    ] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate of the server (PEM), for HTTPS.")] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="Private key of the certificate (PEM), if it is in another file.")
    ] = None,
    learn: Annotated[
        bool, typer.Option("--learn", help="Let the model learn from the events of all users while it is served.")
    ] = False,
    learning_share: Annotated[
        float, typer.Option(help="Share of one core that each kind of update may take, with --learn.")
    ] = 0.1,
    learning_events: Annotated[
        int, typer.Option(help="Events since the fit from which on nothing more is learned from a user, with --learn.")
    ] = 1_000,
    cache: Annotated[
        str | None,
        typer.Option(
            help="Share lists and the rates of keys with other servers in Redis or Valkey, such as redis://localhost:6379/0."
        ),
    ] = None,
    log_format: Annotated[
        str, typer.Option(help="Form of the lines on standard error: text, or json for one object in each.")
    ] = "text",
    slow_request: Annotated[
        float, typer.Option(help="Seconds from which on a request is logged as slow, with its stages.")
    ] = 1.0,
    trace_endpoint: Annotated[
        str | None,
        typer.Option(help="Send traces to a collector of OpenTelemetry, such as http://localhost:4318/v1/traces."),
    ] = None,
    trace_share: Annotated[
        float, typer.Option(help="Share of the requests to trace, where the client does not say.")
    ] = 0.01,
    workers: Annotated[
        int, typer.Option(help="Processes that answer requests, over one model in shared memory. Not on Windows.")
    ] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="When the server is ready print one line of JSON: url, model and log.")
    ] = False,
    config: Annotated[  # noqa: ARG001 - its callback has read it
        Path | None,
        typer.Option(
            callback=_use_config,
            is_eager=True,
            help="TOML file with flags as keys, such as port = 80; flags given here win.",
        ),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print all settings as a file for --config, and do not serve.")
    ] = False,
) -> None:
    """Serve recommendations over HTTP, record events, and show a demo page."""
    from leanrec.cli.serving.list_files import read_rules
    from leanrec.events.records import RetentionPolicy, StorageLimits
    from leanrec.online.learning.online_learner import LearningSettings
    from leanrec.serving.load.quality import LoadLimits
    from leanrec.serving.security.api_keys import ApiKeys
    from leanrec.serving.server import serve as run_server
    from leanrec.serving.serving_settings import ServingSettings
    from leanrec.units import parse_bytes

    if print_config:
        print(format_config(context))
        return
    if model is None:
        raise SettingError("MODEL must be the folder of a model or of its versions. Got none: leanrec serve MODEL.")
    limits = StorageLimits(*(parse_bytes(size) for size in (lists_free_space, events_free_space, max_wal)))
    event_types = {} if event_type is None else {"event_types": tuple(event_type)}
    settings = ServingSettings(
        rebind_log=rebind_log,
        retention=RetentionPolicy(retention_lists, retention_days),
        storage=limits,
        allowed_hosts=tuple(allowed_host or ()),
        max_connections=max_connections,
        request_timeout=request_timeout,
        load=LoadLimits(latency_target_ms, max_in_flight=max_in_flight),
        explore=explore,
        list_rules=None if list_rules is None else read_rules(list_rules),
        keys=None if keys is None else ApiKeys.read(keys),
        insecure=insecure,
        tls_cert=tls_cert,
        tls_key=tls_key,
        learning=LearningSettings(learning_share, learning_events) if learn else None,
        cache=cache,
        log_format=log_format,
        slow_request=slow_request,
        trace_endpoint=trace_endpoint,
        trace_share=trace_share,
        **event_types,
    )
    ready = report_ready(model) if as_json else None
    run_server(model, host=host, port=port, log_path=event_log, settings=settings, ready=ready, workers=workers)


def report_ready(model: Path) -> Callable[[str, str], None]:
    """A callback that prints URL, model and log in one line of JSON once the server answers."""
    return lambda url, log: output.print_json_line({"url": url, "model": model, "log": log})
