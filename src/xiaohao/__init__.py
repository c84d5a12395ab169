"""xiaohao (小号): a self-hosted number-masking platform."""

__version__ = "0.1.0"
