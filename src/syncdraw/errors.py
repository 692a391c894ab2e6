"""The one exception that is meant for the person at the keyboard."""


class UserError(ValueError):
    """Bad input. The message is one sentence that names the file, field or value and says what would be right.

    The command line prints the message without a traceback and exits with status 2.
    """
