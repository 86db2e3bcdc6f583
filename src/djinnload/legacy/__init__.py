"""The original evaluation: its YAML configurations read, its JSON results written."""
