"""djinnload: load generation for ML model servers that survives a hostile reviewer.

Importing it is light: numpy, pyarrow, torch and matplotlib come when they are used.
"""

__version__ = "0.1.0"
