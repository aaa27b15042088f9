"""The main job on a stage: the same arrivals under two policies, over real HTTP, judged picture by picture."""
