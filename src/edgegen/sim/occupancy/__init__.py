"""How sites are occupied: the rules by which tasks share a machine, one module each.

| module     | rule                                                                                           |
|------------|------------------------------------------------------------------------------------------------|
| `pool`     | so many denoising steps may run at once; a task that does not fit crashes the site             |
| `sharing`  | all tasks of an epoch run side by side, each with a share; what is not done is a backlog       |
"""
