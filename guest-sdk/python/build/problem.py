"""What went wrong with a build, for the program to show: what, where, what to do."""


class Problem(Exception):
    def __init__(self, message, place=None, help=None):
        super().__init__(message)
        self.said = {"message": message, "place": place, "help": help}
