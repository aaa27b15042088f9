"""Worlds as environments of other projects, for their learners; needs the extra `gym`.

| module         | what                                                                            |
|----------------|---------------------------------------------------------------------------------|
| `single`       | one environment as a `gymnasium.Env`                                            |
| `vector`       | many at once as a `gymnasium.vector.VectorEnv`                                  |
| `parallel`     | a world with several agents as a `pettingzoo.ParallelEnv`                       |
| `strangers`    | their policies in our simulator, and ours in their loops                        |
| `registration` | names for `gymnasium.make`                                                      |
| `machine`      | what all of them run: `Environment.step`, compiled, behind calls with NumPy     |

The system itself, restarts, rewards and masks are those of `sim.environment`; nothing of them is written a second time.
"""
