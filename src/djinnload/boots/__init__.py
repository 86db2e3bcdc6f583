"""Servers that a run needs: started, opened, ended."""
