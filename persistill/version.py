"""The version, in a place of its own: whoever needs it need not import what the package gives."""

__version__ = "0.1.0"
