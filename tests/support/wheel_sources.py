"""What the wheel is built from; the image of deploy/Dockerfile copies the same."""

SOURCES = ("simclr_tf2", "recipes", "run.py", "flags.py", "setup.py", "pyproject.toml")
TEXTS = ("README.md", "LICENSE", "requirements.txt")
