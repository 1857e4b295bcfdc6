"""The one exception that means: the user gave something that can't be used."""


class InputError(ValueError):
    """A user's file, folder, option or combination of options can't be used.

    The message is one sentence or two: what was wrong, the value found, what to do about it. The scripts print
    it without a traceback and exit with status 2; every other exception is a defect of ours and shows its traceback.
    """


class JobFailed(Exception):
    """A job that ran in processes of its own has failed, and has said there what was wrong.

    Attributes:
        status: Its exit status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
