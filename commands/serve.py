"""`serve`: a model over REST and gRPC as TensorFlow Serving does it, and a page to try it on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from affectstream.commands.options.param_types import WEIGHTS_FOLDER, FiniteRange, StoragePath
from affectstream.core import progress, storage_paths, tf_setup
from affectstream.core.errors import UserError
from affectstream.server.limits import MIB, ServerLimits

if TYPE_CHECKING:
    from affectstream.server.origins import PublicOrigin

TOKEN_VARIABLE = "AFFECTSTREAM_TOKEN"
PORT = click.IntRange(0, 65535)


class PublicOriginParam(click.ParamType):
    """A `PublicOrigin`."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from affectstream.server.origins import PublicOrigin

        if isinstance(value, PublicOrigin):
            return value
        try:
            return PublicOrigin.parse(value)
        except UserError as error:
            self.fail(str(error), param, ctx)


@click.command("serve")
@click.option(
    "--model",
    type=StoragePath(),
    required=True,
    help="What `export --out` or `export --serving` wrote: versions, or a bundle.",
)
@click.option("--rest-port", type=PORT, default=8501, show_default=True, help="0: a free one.")
@click.option("--grpc-port", type=PORT, default=8500, show_default=True, help="0: a free one.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; 0.0.0.0 answers to the network, give a token then.",
)
@click.option("--name", help="Of the model. [default: the bundle's, else the folder's]")
@click.option(
    "--poll-s",
    type=FiniteRange(0.1, 3600),
    default=5.0,
    show_default=True,
    help="How often to look for new versions.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help=f"File with the token that clients must send. [default: the variable {TOKEN_VARIABLE}]",
)
@click.option(
    "--weights-dir",
    type=WEIGHTS_FOLDER,
    help="Folder of face detector weights, for recordings.",
)
@click.option(
    "--public-origin",
    "public_origins",
    multiple=True,
    type=PublicOriginParam(),
    help="Where browsers see the page behind a proxy: https://HOST[:PORT][/PREFIX]; repeatable.",
)
@click.option("--no-analyze", is_flag=True, help="Takes no recordings: tensors only.")
@click.option("--max-body-mb", type=click.IntRange(1, 1024), help="Of a prediction. [default: 64]")
@click.option("--max-upload-mb", type=click.IntRange(1), help="Of a recording. [default: 200]")
@click.option("--max-media-s", type=FiniteRange(1), help="Of a recording. [default: 600]")
@click.option("--workers", type=click.IntRange(1), help="Recordings at a time. [default: 1]")
@click.option("--max-batch-rows", type=click.IntRange(1), help="Rows run at once. [default: 8]")
@click.option("--max-queued-rows", type=click.IntRange(1), help="Rows that wait. [default: 256]")
@click.option("--drain-s", type=FiniteRange(0), help="Time to end requests. [default: 30]")
def command(
    model: Path,
    rest_port: int,
    grpc_port: int,
    host: str,
    name: str | None,
    poll_s: float,
    token_file: Path | None,
    weights_dir: Path | None,
    public_origins: tuple[PublicOrigin, ...],
    no_analyze: bool,
    max_body_mb: int | None,
    max_upload_mb: int | None,
    max_media_s: float | None,
    workers: int | None,
    max_batch_rows: int | None,
    max_queued_rows: int | None,
    drain_s: float | None,
) -> None:
    """Answers over REST and gRPC as TensorFlow Serving does, with a page to try the model on.

    New versions in the folder are loaded while the old one answers. Ctrl-C or SIGTERM ends it once
    running requests are answered. The token never stands on the command line, where others see it.
    """
    if rest_port == grpc_port != 0:
        raise click.UsageError("--rest-port and --grpc-port must differ")
    token = read_token(token_file)
    from affectstream.server.sockets import is_loopback
    from affectstream.server.versions.model_source import open_source

    limits = limits_from_options(
        max_body_bytes=max_body_mb and max_body_mb * MIB,
        max_upload_bytes=max_upload_mb and max_upload_mb * MIB,
        max_media_s=max_media_s,
        num_workers=workers,
        max_batch_rows=max_batch_rows,
        max_queued_rows=max_queued_rows,
        drain_s=drain_s,
    )
    if storage_paths.is_remote(model):
        progress.print_message(f"{model}: fetched once; new versions there are not looked for")
        model = storage_paths.fetch_to_local(model)
    open_source(model, name)  # reports a wrong folder before the slow import of TensorFlow
    opened = [f"--public-origin {one.origin}" for one in public_origins]
    opened += [] if is_loopback(host) else [f"--host {host}"]
    if token is None and opened:
        progress.print_message(
            f"warning: {opened[-1]} lets the network in without a token; set {TOKEN_VARIABLE}"
        )
    tf_setup.import_tensorflow()
    from affectstream.server.app import ServeSettings, serve

    settings = ServeSettings(
        model,
        name,
        host,
        rest_port,
        grpc_port,
        poll_s,
        token,
        weights_dir,
        limits,
        not no_analyze,
        public_origins,
    )
    serve(settings)


def limits_from_options(**limits: float | None) -> ServerLimits:
    """Default limits, except for the given ones."""
    return ServerLimits(**{key: value for key, value in limits.items() if value is not None})  # type: ignore[arg-type]


def read_token(file: Path | None) -> str | None:
    """The token from a file, else from the environment; None if neither is given.

    It is removed from the environment, because processes of the server would inherit it.

    Raises:
      UserError: empty, or not printable ASCII without spaces; the message omits the token.
    """
    of_environment = os.environ.pop(TOKEN_VARIABLE, None)
    if file is not None:
        where, text = str(file), file.read_bytes().decode("utf-8", "replace")
    elif of_environment is not None:
        where, text = TOKEN_VARIABLE, of_environment
    else:
        return None
    token = text.strip()
    if not token:
        raise UserError(
            f"{where}: holds no token; write one, for example of `openssl rand -hex 24`"
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(f"{where}: a token is one line of printable ASCII without spaces")
    return token
