"""`edgegen version`."""

from edgegen.cli.output import AsJson, print_json


def version(json: AsJson = False) -> None:
    """Print the version of edgegen and of what it runs on."""
    import platform
    from importlib.metadata import version as installed

    import edgegen
    from edgegen.cli.output import print_table

    parts = {name: installed(name) for name in ("numpy", "jax", "onnxruntime", "fastapi", "pydantic")}
    if json:
        print_json({"edgegen": edgegen.__version__, "python": platform.python_version(), **parts})
    else:
        rows = [("python", platform.python_version()), *parts.items()]
        print_table(f"edgegen {edgegen.__version__}", ("part", "version"), rows)
