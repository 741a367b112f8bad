"""``python -m hashsearch`` is the command ``hashsearch``."""

from hashsearch.cli import main

if __name__ == "__main__":
    main()
