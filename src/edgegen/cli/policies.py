"""`edgegen policies`."""

from edgegen.cli.output import AsJson, print_json, print_table


def policies(json: AsJson = False) -> None:
    """List the policies that can decide, with the options that each takes (`NAME:option=value`)."""
    import dataclasses

    from edgegen.registry import DEFAULT
    from edgegen.registry import policies as registered

    entries = registered()
    if json:
        print_json([dataclasses.asdict(entry) for entry in entries])
        return
    rows = [
        (entry.name + (" (default)" if entry.name == DEFAULT else ""), ", ".join(entry.options), entry.summary)
        for entry in entries
    ]
    print_table("policies", ("name", "options", "what it does"), rows)
