"""A command as a user or a program calls it."""

from typer.testing import CliRunner

from memeblend.cli.app import app


def call(*arguments, code=0):
    """What a command printed; its exit code must be the one that is expected."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.stdout + result.stderr + repr(result.exception)
    return result
