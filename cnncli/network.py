"""What downloads of weights and of images share."""


def reason(problem: BaseException) -> str:
    """The innermost reason of a network failure, in a few words: `Connection refused`."""
    while True:
        inner = problem.__cause__ or problem.__context__ or getattr(problem, "reason", None)
        if not isinstance(inner, BaseException):
            break
        problem = inner
    return getattr(problem, "strerror", None) or (str(problem).splitlines() or [type(problem).__name__])[0]
