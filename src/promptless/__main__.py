"""`python -m promptless`, which is how launchers of several processes start it."""

from promptless.cli import main

if __name__ == "__main__":
    main()
