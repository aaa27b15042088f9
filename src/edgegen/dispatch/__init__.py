"""The live side without any input or output: events in, commands out."""
