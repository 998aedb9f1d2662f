"""``python -m georeset_lab`` is the command ``georeset``."""

from georeset_lab.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
