"""Tables and figures of the paper by command: `python reproduce.py --help`."""

import reproduction

if __name__ == "__main__":
    reproduction.main()
