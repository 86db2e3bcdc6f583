"""The highest load that meets the objectives."""
