"""The one error that a user's input causes."""


class ConfigError(ValueError):
    """A configuration, path or file that cannot be used.

    Its message is one line that names the field or path, the value and what is allowed;
    the command line prints it and exits with status 2.
    """
