"""``python -m aiops`` is the command line."""

from aiops.cli import main

if __name__ == "__main__":
    main()
