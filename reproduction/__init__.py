"""The paper's tables and figures by command: `python reproduce.py`."""
