"""How sites are occupied: the rules by which tasks share a machine, one module each.

| module     | rule                                                                                           |
|------------|------------------------------------------------------------------------------------------------|
| `pool`     | so many denoising steps may run at once; a task that does not fit crashes the site             |
"""
