"""The command line: each command parses its options, calls the library and prints."""

from __future__ import annotations

import importlib
import os
import re
import sys

import click

import medzoo
from medzoo.errors import MedzooError

#: Commands in the order of a user's work; each is `command` in the module of its name.
COMMANDS = (
    "models",
    "weights",
    "data",
    "transplant",
    "plan",
    "train",
    "runs",
    "predict",
    "evaluate",
    "calibrate",
    "compare",
    "efficiency",
    "shift",
    "report",
)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for; none of them imports a framework."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in order of use."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"{__package__}.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(medzoo.__version__, prog_name="medzoo")
def group() -> None:
    """Choose a network for medical images and how to initialise it.

    \b
    Two commands that work as typed, offline, on a fresh install:
      medzoo transplant --src imagenet --mode stats
      medzoo train
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: exit code 0 done, 1 a refusal with its reason in one line, 2 wrong usage."""
    # TensorFlow's start-up notices are no notes of ours; a user who set the level keeps it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        code = group.main(arguments, prog_name="medzoo", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except MedzooError as error:
        _stop(str(error))
    except (KeyboardInterrupt, click.Abort) as error:
        # Click turns Ctrl-C into Abort; what was interrupted says what it kept.
        _stop(str(error.__cause__ or error) or "interrupted")
    except BrokenPipeError:
        # The reader of a pipe left (`| head`): nothing is wrong, and stdout cannot be flushed any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except MemoryError:
        _stop("out of memory; a smaller model, batch or image may fit")
    except OSError as error:
        # HDF5's own texts are several lines of addresses; its errno is the system's.
        reason = os.strerror(error.errno) if error.errno else " ".join(str(error).split())[:200]
        file = re.sub(r"\.part-\w{8}-", "", str(error.filename or "the output"))
        _stop(f"{reason}: {file}")
    except Exception as error:
        if os.environ.get("MEDZOO_TRACEBACK"):
            raise
        first = " ".join(str(error).split())[:200]
        _stop(f"internal error, {type(error).__name__}: {first}; MEDZOO_TRACEBACK=1 shows where")
    sys.exit(code if isinstance(code, int) else 0)


def _stop(reason: str) -> None:
    """Print one line to stderr and exit with 1."""
    click.echo(f"medzoo: {reason}", err=True)
    sys.exit(1)
