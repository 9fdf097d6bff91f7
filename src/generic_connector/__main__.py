"""`python -m generic_connector`: the command line, where its script is not on the path."""

from generic_connector.cli import main

if __name__ == "__main__":
    main()
