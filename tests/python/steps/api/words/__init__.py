"""A package of the step's own, with a file beside its modules."""

from importlib.resources import files


def greeting():
    return files(__package__).joinpath("greeting.txt").read_text().strip()
