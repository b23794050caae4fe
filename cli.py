"""The command line of Affectstream: `python cli.py COMMAND --help`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from affectstream.core import interrupts, storage_paths
from affectstream.core.atomic_io import private_tempdir
from affectstream.core.errors import (
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    UserError,
    from_disk_full_error,
    from_os_error,
)

# Command -> module in `commands/` and one line of help; modules are imported on use.
COMMANDS = {
    "preprocess": "Convert recordings to records: decode, detect faces, split by speaker.",
    "split": "Split a data folder again into training, validation and test.",
    "train": "Train one stream, or a fusion of trained streams.",
    "evaluate": "Score a run on a data folder.",
    "crossval": "Train and test a recipe over folds of whole speakers, with several seeds.",
    "export": "Write a run as SavedModel, in a bundle for TensorFlow Serving, or as .tflite.",
    "predict": "Recognise emotion in any media files.",
    "serve": "Serve a model over REST and gRPC like TensorFlow Serving, with a web page.",
    "features": "Write acoustic features as a table, or spectrogram pictures.",
    "download": "Fetch a corpus that may be fetched freely.",
    "describe": "Describe a run, export, bundle, .tflite or data folder.",
    "list": "List the available corpora, detectors, encoders, ...",
    "synthesize": "Write the SYNTHETIC sample corpus.",
    "augment": "Write a data folder with transformed copies of training clips.",
    "doctor": "Check this machine and say what is missing.",
    "demo": "Run the whole pipeline on the SYNTHETIC sample corpus.",
}


class LazyGroup(click.Group):
    """Lists its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"affectstream.commands.{cmd_name}")
        return module.command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option("0.1.0", message="affectstream %(version)s")
def cli(debug: bool) -> None:
    """Recognises emotion from face, voice and text.

    \b
    Exit codes: 0 all good; 1 nothing could be done; 2 usage;
    3 some inputs rejected, the rest done; 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; every user error ends in one line on stderr.

    Returns:
      the exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    _quieten()
    try:
        with interrupts.reraise_dropped_sigint(), private_tempdir():
            code: Any = cli.main(words, prog_name="python cli.py", standalone_mode=False)
    except click.exceptions.Abort:
        return _fail("interrupted; what was finished is kept, the same command goes on", 130)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        return _fail(
            "interrupted; what was finished is kept, the same command goes on", EXIT_INTERRUPTED
        )
    except (UserError, OSError) as error:
        if "--debug" in words:
            raise
        told = error if isinstance(error, UserError) else from_os_error(error)
        return _fail(str(told), EXIT_FAILURE)
    except Exception as error:
        line = str(from_disk_full_error(error) or storage_paths.store_error_message(error))
        if not line or "--debug" in words:
            raise
        return _fail(line, EXIT_FAILURE)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    click.echo(f"Error: {message}", err=True)
    return code


def _quieten() -> None:
    """Native start-up messages would hide our one line; see also `tf_setup`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GLOG_minloglevel", "3")


if __name__ == "__main__":
    sys.exit(main())
