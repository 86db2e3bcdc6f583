"""The embedded reference server: the Djinn wire, real PyTorch models."""
