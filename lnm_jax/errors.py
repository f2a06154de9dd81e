"""What ends a command with one line: the exceptions that a user meets, and their exit status."""

from __future__ import annotations

# Optional packages by the names they are imported by; extras are lists in requirements/.
EXTRAS = {
    **dict.fromkeys(("grain", "importlib_resources", "PIL", "pooch", "sklearn"), "data"),
    "tensorflow_datasets": "data",
    **dict.fromkeys(("aedat", "h5py", "tonic"), "events"),
    **dict.fromkeys(("flatbuffers", "nir"), "export"),
    **dict.fromkeys(("matplotlib", "tensorboardX"), "analysis"),
}


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """What to install for an import that failed, in one line; None for what is in no extra."""
    package = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(package)
    return extra and f"{package} is missing; pip install 'lnm_jax[{extra}]'"


class ReportedError(Exception):
    """Its message is one line; the command line prints it and exits with `status`."""

    status = 1
    # Whether the other processes of a run would wait for this one, so that a command ends without
    # jax's orderly end, which waits for them; None: not known.
    alone: bool | None = None


class ConfigError(ReportedError, ValueError):
    """A configuration, path or file that cannot be used.

    The line names the field or path, the value and what is allowed.
    """

    status = 2


class NonFiniteError(ReportedError, ArithmeticError):
    """Numbers that left the finite range, in training that did not come back or in what is asked.

    The line names where they left, and of training the last good state.
    """

    status, alone = 3, False  # of numbers that all have


class Interrupted(ReportedError):  # noqa: N818 not an error of anybody
    """A run that stopped when it was asked to, after saving; it can go on."""

    status, alone = 75, False  # EX_TEMPFAIL; after the same step in all


class LostProcessError(ReportedError):
    """A run of several processes, of which another one ended."""

    status, alone = 4, True
