"""`python -m cnncli` is the same as `cnncli`."""

from cnncli.cli import entry

if __name__ == "__main__":
    entry()
